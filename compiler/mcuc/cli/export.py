"""mcuc export: an int8 file that the stock runtimes load."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mcuc.cli._options import (
    CALIBRATION,
    Activations,
    AnyModel,
    Calibration,
    Mean,
    Snr,
    Std,
    Verbose,
    WeightBits,
    floats,
    precision,
)
from mcuc.cli._progress import bars
from mcuc.report.words import clean

EXAMPLE = "Example:  mcuc export float.onnx --data samples.npz -o int8.tflite"


class Style(StrEnum):
    qdq = "qdq"
    qoperator = "qoperator"


Out = Annotated[
    Path,
    typer.Option("-o", metavar="FILE", show_default=False, help="The .tflite or .onnx file to write."),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR|FILE|NAME",
        show_default=False,
        help="Calibration samples for a float MODEL: an .npz with x, a folder of class folders of images, or a bundled "
        "data set's name.",
    ),
]
StyleName = Annotated[
    Style, typer.Option("--style", help="How an .onnx file says int8: QDQ pairs or QLinear operators.")
]
FloatEnds = Annotated[
    bool, typer.Option("--float-io", help="Inputs and outputs are float32 and the file quantizes them itself.")
]


def command(
    model: AnyModel,
    out: Out,
    data: Data = None,
    mean: Mean = None,
    std: Std = None,
    calibration: Calibration = None,
    activations: Activations = None,
    weights: WeightBits = None,
    snr: Snr = None,
    style: StyleName = Style.qdq,
    float_io: FloatEnds = False,
    verbose: Verbose = False,
) -> None:
    """Write a model as an int8 .tflite or .onnx file; a float one is quantized first, with samples from --data."""
    from mcuc import api

    if data is None and any(given is not None for given in (mean, std, calibration, activations, weights, snr)):
        raise typer.BadParameter(
            "--mean, --std, --calibration, --activations, --weights and --snr are for a float MODEL with --data"
        )
    with bars(verbose) as bar:
        made = api.export(
            model,
            out,
            data=data,
            mean=floats(mean or "0"),
            std=floats(std or "1"),
            calibration=calibration or CALIBRATION,
            **precision(activations, weights, snr),
            style=style.value,
            float_io=float_io,
            progress=bar,
        )
    print(f"{out}: {made.size:,} bytes")
    for side, ends in (("input", made.inputs), ("output", made.outputs)):
        for end in ends:
            shape = "x".join(map(str, end.shape)) or "a number"
            scale = f", scale {end.quant.scale[0]:.9g}, zero point {end.quant.zero_point[0]}" if end.quant else ""
            print(f"  {side} {clean(end.name)}: {end.dtype} {shape}{scale}")
