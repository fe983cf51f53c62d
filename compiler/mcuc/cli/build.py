"""mcuc build: from a budget to firmware."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mcuc import sizes
from mcuc.cli._options import (
    CALIBRATION,
    DEFAULT_BOARD,
    SIZE,
    Activations,
    BoardName,
    Calibration,
    Goal,
    Json,
    Mean,
    Name,
    Optimize,
    Seed,
    Sensitivity,
    Snr,
    Std,
    Toolchain,
    ToolchainName,
    Verbose,
    WeightBits,
    flash_option,
    floats,
    precision,
    usage,
)
from mcuc.cli._progress import bars, stages
from mcuc.cli._show import show_compiled
from mcuc.cli.compile import Out

EXAMPLE = (
    "Example:  mcuc build --budget 320KB --board nucleo-f746zg --data photos/ -o out  "
    "or  mcuc build --space vit-lowrank --budget 320KB --data photos/ --teacher big.onnx  "
    "or  mcuc build float.onnx --data photos/ --mean 127.5 --std 127.5"
)


class Effort(StrEnum):
    quick = "quick"
    standard = "standard"
    full = "full"


class Space(StrEnum):
    ds_conv = "ds-conv"
    vit_lowrank = "vit-lowrank"


class MemoryModel(StrEnum):
    planner = "planner"
    paper = "paper"


class Pool(StrEnum):
    token = "token"
    mean = "mean"


class Positions(StrEnum):
    absolute = "absolute"
    relative = "relative"


class Attention(StrEnum):
    softmax = "softmax"
    linear = "linear"
    both = "both"


OptionalModel = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        show_default=False,
        help="A .tflite or .onnx file to compile under the budget, instead of searching for a network; a float one is "
        "quantized first, with samples from --data.",
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        metavar="N",
        parser=SIZE,
        show_default=False,
        help="SRAM allowed: 320KB (1 KB = 1024 bytes), 1MB or 327680. Default: all that the board has.",
    ),
]
Flash = Annotated[
    int | None, flash_option("; for --space ds-conv, whose networks are small, what the chip has")
]
Latency = Annotated[
    float | None,
    typer.Option(
        "--latency",
        metavar="T",
        parser=usage(sizes.parse_time_ms),
        show_default=False,
        help="The most that an inference may take, as estimated: 100ms, 0.5s or 800us.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR|FILE|NAME",
        show_default=False,
        help="A folder of class folders of images, an .npz with x and y, or a bundled data set's name. For a float "
        "MODEL: samples as it takes them. Default of the search: fashion-mnist.",
    ),
]
SpaceName = Annotated[
    Space | None,
    typer.Option(
        "--space",
        show_default=False,
        help="What to search: ds-conv, depthwise-separable convolutions, or vit-lowrank, vision transformers with "
        "low-rank layers. Default: ds-conv.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        metavar="N",
        min=8,
        max=512,
        show_default=False,
        help="With --space vit-lowrank: pixels a side of the input. Default: as the images are, at most 128.",
    ),
]
KeepFactors = Annotated[
    bool,
    typer.Option(
        "--keep-factors",
        help="With --space vit-lowrank: dense layers keep their three factors instead of the cheapest form.",
    ),
]
MemoryModelName = Annotated[
    MemoryModel | None,
    typer.Option(
        "--memory-model",
        show_default=False,
        help="With --space vit-lowrank: what a candidate's SRAM is, the planner's, or MCUFormer's formula to compare "
        "with. Default: planner.",
    ),
]
PoolName = Annotated[
    Pool | None,
    typer.Option(
        "--pool",
        show_default=False,
        help="With --space vit-lowrank: what is classified, a class token or the mean of all. Default: both are "
        "searched.",
    ),
]
PositionsName = Annotated[
    Positions | None,
    typer.Option(
        "--positions",
        show_default=False,
        help="With --space vit-lowrank: a vector for each place, or a bias of attention for each distance. Default: "
        "absolute.",
    ),
]
AttentionName = Annotated[
    Attention | None,
    typer.Option(
        "--attention",
        show_default=False,
        help="With --space vit-lowrank: softmax, linear attention (its memory grows with the tokens, not with their "
        "square), or both, searched block by block. Default: softmax.",
    ),
]
Teacher = Annotated[
    Path | None,
    typer.Option(
        "--teacher",
        metavar="FILE",
        show_default=False,
        help="With --space vit-lowrank: a float .onnx or .tflite classifier of the same images, at the size that the "
        "networks see (--image-size), pixel / 255; half of what is learnt is its answers.",
    ),
]
EffortName = Annotated[
    Effort | None,
    typer.Option("--effort", show_default=False, help="How long to search and to train. Default: quick (minutes)."),
]
Flip = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip",
        show_default=False,
        help="Train on mirrored images too: right for photos, wrong for digits and text. Default: only for "
        "fashion-mnist.",
    ),
]


class Metric(StrEnum):
    top1 = "top1"
    auc = "auc"
    error = "error"


MetricName = Annotated[
    Metric | None,
    typer.Option(
        "--metric",
        show_default=False,
        help="With a float MODEL: what judges the result. top1: labels, the largest output; auc: labels 0 and 1, one "
        "score or the error of a reconstruction; error: targets, mean absolute. Default: what the data calls for.",
    ),
]


def command(
    model: OptionalModel = None,
    budget: Budget = None,
    flash: Flash = None,
    latency: Latency = None,
    board: BoardName = DEFAULT_BOARD,
    data: Data = None,
    space: SpaceName = None,
    effort: EffortName = None,
    flip: Flip = None,
    image_size: ImageSize = None,
    keep_factors: KeepFactors = False,
    memory_model: MemoryModelName = None,
    pool: PoolName = None,
    positions: PositionsName = None,
    attention: AttentionName = None,
    teacher: Teacher = None,
    mean: Mean = None,
    std: Std = None,
    calibration: Calibration = None,
    sensitivity: Sensitivity = False,
    activations: Activations = None,
    weights: WeightBits = None,
    snr: Snr = None,
    metric: MetricName = None,
    optimize: Goal = Optimize.balanced,
    toolchain: ToolchainName = Toolchain.auto,
    name: Name = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search a network that fits the budget, train, quantize, compile and verify it; or quantize and compile MODEL.

    A build that was interrupted goes on where it was when it runs again.
    """
    if model is not None and any(given is not None for given in (space, effort, flip)):
        raise typer.BadParameter("--space, --effort and --flip are for the search, not for a MODEL")
    if (model is None or data is None) and any(
        given is not None
        for given in (mean, std, calibration, sensitivity or None, activations, weights, snr, metric)
    ):
        raise typer.BadParameter(
            "--mean, --std, --calibration, --sensitivity, --activations, --weights, --snr and --metric are for a float "
            "MODEL with --data"
        )
    transformer = (image_size, keep_factors or None, memory_model, pool, positions, attention, teacher)
    if space is not Space.vit_lowrank and any(given is not None for given in transformer):
        raise typer.BadParameter(
            "--image-size, --keep-factors, --memory-model, --pool, --positions, --attention and --teacher are for "
            "--space vit-lowrank"
        )
    from mcuc import api

    if model is not None and data is not None:
        with bars(verbose) as bar:
            done = api.build_float(
                model,
                data,
                board=board,
                budget=budget,
                flash=flash,
                latency_ms=latency,
                mean=floats(mean or "0"),
                std=floats(std or "1"),
                calibration=calibration or CALIBRATION,
                sensitivity=sensitivity,
                **precision(activations, weights, snr),
                metric=None if metric is None else metric.value,
                optimize=optimize.value,
                toolchain=toolchain.value,
                name=name,
                seed=seed,
                out=out,
                progress=bar,
            ).compiled
    elif model is not None:
        with stages(verbose) as stage:
            done = api.compile(
                model,
                board=board,
                budget=budget,
                flash=flash,
                latency_ms=latency,
                optimize=optimize.value,
                toolchain=toolchain.value,
                name=name,
                seed=seed,
                out=out,
                progress=stage,
            )
    else:
        with bars(verbose) as bar:
            done = api.build(
                board=board,
                budget=budget,
                flash=flash,
                latency_ms=latency,
                data=data,
                space=(space or Space.ds_conv).value,
                effort=(effort or Effort.quick).value,
                flip=flip,
                image_size=image_size,
                keep_factors=keep_factors,
                memory_model=(memory_model or MemoryModel.planner).value,
                pool=None if pool is None else pool.value,
                positions=None if positions is None else positions.value,
                attention=None if attention is None else attention.value,
                teacher=teacher,
                optimize=optimize.value,
                toolchain=toolchain.value,
                name=name,
                seed=seed,
                out=out,
                progress=bar,
            ).compiled
    show_compiled(done.report, done.out, as_json)
