"""mcuc compile: a model file to verified firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcuc.cli._options import (
    DEFAULT_BOARD,
    BoardName,
    Budget,
    Goal,
    Json,
    Model,
    Name,
    Optimize,
    ProfileName,
    Seed,
    Toolchain,
    ToolchainName,
    Verbose,
)
from mcuc.cli._progress import stages
from mcuc.cli._show import show_compiled

EXAMPLE = "Example:  mcuc compile kws.tflite --board nucleo-l4r5zi --budget 64KB -o out"
Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        metavar="OUT",
        show_default=False,
        help="Folder to write; by default ./NAME_mcuc. A folder that mcuc did not write is left alone.",
    ),
]


def command(
    model: Model,
    board: BoardName = DEFAULT_BOARD,
    budget: Budget = None,
    optimize: Goal = Optimize.balanced,
    toolchain: ToolchainName = Toolchain.auto,
    profile: ProfileName = None,
    name: Name = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compile a quantized model to C and firmware, run it emulated, compare the answers, write the report."""
    from mcuc import api

    with stages(verbose) as progress:
        done = api.compile(
            model,
            board=board,
            budget=budget,
            optimize=optimize.value,
            toolchain=toolchain.value,
            profile=None if profile is None else profile.value,
            name=name,
            seed=seed,
            out=out,
            progress=progress,
        )
    show_compiled(done.report, done.out, as_json)
