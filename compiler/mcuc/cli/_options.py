"""Options that several commands share, as annotations."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mcuc import sizes
from mcuc.errors import McucError

_T = TypeVar("_T")
DEFAULT_BOARD = "nucleo-f746zg"  # mcuc.request.DEFAULT_BOARD, which takes long to import


class Optimize(StrEnum):
    latency = "latency"
    balanced = "balanced"
    sram = "sram"
    flash = "flash"


class Tune(StrEnum):
    off = "off"
    fast = "fast"
    full = "full"


class ActivationTypes(StrEnum):
    int8 = "int8"
    mixed = "mixed"
    int16 = "int16"


class WeightTypes(StrEnum):
    int8 = "int8"
    mixed = "mixed"


class Toolchain(StrEnum):
    auto = "auto"
    zig = "zig"
    gcc = "gcc"


class Profile(StrEnum):
    tflite = "tflite"
    onnx = "onnx"


def usage(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """A reader of an option's text whose refusal is a usage error (exit code 2)."""

    def parse(text: str) -> _T:
        try:
            return read(text)
        except McucError as error:
            raise typer.BadParameter(f"{error.found}; {error.try_this}") from error

    return parse


def _size_or_min(text: str) -> str:
    return "min" if text.strip().lower() == "min" else str(sizes.parse_size(text))


SIZE = usage(sizes.parse_size)
AnyModel = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A .tflite or .onnx file; a float one with --data.", show_default=False),
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .tflite or .onnx file, quantized to int8.", show_default=False)
]
BoardName = Annotated[
    str, typer.Option("--board", metavar="B", help="A name that `mcuc boards` lists, or a board's .toml file.")
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="N|min",
        parser=usage(_size_or_min),
        show_default=False,
        help="SRAM allowed: 320KB (1 KB = 1024 bytes), 1MB, 327680: the fastest schedule that fits; or min for the "
        "smallest that computes nothing twice. Default: all that the board has.",
    ),
]


def flash_option(more: str = "") -> Any:
    """The option --flash. more: what its help says of the default beside the board's flash."""
    return typer.Option(
        "--flash",
        metavar="N",
        parser=SIZE,
        show_default=False,
        help="Flash allowed for weights and code together, outside the chip too: up to what the chip has itself, none "
        f"of it lies outside. Default: all that the board has{more}.",
    )


Flash = Annotated[int | None, flash_option()]
RowsIn = Annotated[
    bool,
    typer.Option(
        "--rows-in",
        help="The input arrives row by row (camera, frames) and is never held whole: begin, push_rows, finish.",
    ),
]
Goal = Annotated[Optimize, typer.Option("--optimize", help="What to prefer where there is a choice.")]
TuneMode = Annotated[
    Tune,
    typer.Option(
        "--tune",
        help="Measure the kernels that a layer may have on the emulated core and take the best by --optimize: of the "
        "layers that take most of the time (fast) or of all (full). What was measured is remembered.",
    ),
]
ToolchainName = Annotated[
    Toolchain, typer.Option("--toolchain", help="The firmware's compiler; auto: zig where it is there, else gcc.")
]
ProfileName = Annotated[
    Profile | None,
    typer.Option("--profile", show_default=False, help="Rounding rules; the file format's own by default."),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="N", show_default=False, help="Prefix of all C symbols; by default the file's name."
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything that is random.")]


def floats(text: str) -> tuple[float, ...]:
    """The numbers of --mean and --std. Raises McucError("bad-number") for anything else."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        advice = "write 127.5 or 0.485,0.456,0.406"
        raise McucError("bad-number", f"{text!r} is no list of numbers", "--mean, --std", advice) from error


def precision(
    activations: ActivationTypes | None, weights: WeightTypes | None, snr: float | None
) -> dict[str, Any]:
    """The keywords of mcuc.api for --activations, --weights and --snr; without those that were not given.

    Raises McucError for --snr that nothing needs.
    """
    if snr is not None and "mixed" not in (activations, weights):
        advice = "add --activations mixed or --weights mixed"
        raise McucError("bad-option", "--snr is for mixed precision, and nothing is mixed", "--snr", advice)
    given = {"activations": activations, "weights": weights, "snr_db": snr}
    return {key: getattr(value, "value", value) for key, value in given.items() if value is not None}


def _numbers(text: str) -> str:
    floats(text)
    return text


CALIBRATION = 200  # mcuc.quantize.samples.CALIBRATION, which takes long to import
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="M[,M,M]",
        parser=usage(_numbers),
        show_default=False,
        help="What is taken off the samples for a float MODEL, for all channels or each: real = (value - mean) / std.",
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std", metavar="S[,S,S]", parser=usage(_numbers), show_default=False, help="What they are divided by then."
    ),
]
Calibration = Annotated[
    int | None,
    typer.Option(
        "--calibration",
        metavar="N",
        min=1,
        show_default=False,
        help="Samples that calibrate, at most; the others judge the result. Default: 200.",
    ),
]
Sensitivity = Annotated[
    bool,
    typer.Option(
        "--sensitivity",
        help="With a float MODEL: quantize each layer alone, too, and say in quantization.html what it costs.",
    ),
]
Activations = Annotated[
    ActivationTypes | None,
    typer.Option(
        "--activations",
        show_default=False,
        help="With a float MODEL: int8; mixed: int16 (TFLite's 16x8) where int8 hurts most, until the outputs are "
        "--snr dB above the error; or int16 wherever it can be. Default: int8.",
    ),
]
WeightBits = Annotated[
    WeightTypes | None,
    typer.Option(
        "--weights",
        show_default=False,
        help="With a float MODEL: int8; or mixed: four bits in the layers that cost the outputs least by it, 1 dB "
        "together or as far as --snr lets them. Default: int8.",
    ),
]
Snr = Annotated[
    float | None,
    typer.Option(
        "--snr",
        metavar="DB",
        min=0.0,
        max=120.0,
        show_default=False,
        help="Signal-to-noise ratio of the outputs, in dB on the calibration samples, that mixed activations are to "
        "reach and mixed weights to keep. Default: 30 for activations, 1 below int8's for weights.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Every stage on stderr, and a traceback with an error.")]
