"""mcuc compile: a model file to verified firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcuc.cli._options import (
    DEFAULT_BOARD,
    BoardName,
    Budget,
    Flash,
    Goal,
    Json,
    Model,
    Name,
    Optimize,
    ProfileName,
    RowsIn,
    Seed,
    Toolchain,
    ToolchainName,
    Tune,
    TuneMode,
    Verbose,
)
from mcuc.cli._progress import stages
from mcuc.cli._show import show_compiled, show_tradeoff

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

Argmax = Annotated[
    bool,
    typer.Option(
        "--argmax",
        help="The output is the index of the largest value, an int32; a softmax at the end is left out.",
    ),
]

Pareto = Annotated[
    bool,
    typer.Option("--pareto", help="Print the SRAM-latency front of the model, every point emulated; writes nothing."),
]

Regions = Annotated[
    str | None,
    typer.Option(
        "--regions",
        metavar="R,R",
        show_default=False,
        help="RAM regions that buffers may lie in, such as dtcm,sram1, or all: hot ones go to the fastest. Several "
        "give an arena each. Default: one arena in the linked RAM.",
    ),
]


def command(
    model: Model,
    board: BoardName = DEFAULT_BOARD,
    budget: Budget = None,
    flash: Flash = None,
    optimize: Goal = Optimize.balanced,
    toolchain: ToolchainName = Toolchain.auto,
    profile: ProfileName = None,
    name: Name = None,
    seed: Seed = 0,
    rows_in: RowsIn = False,
    regions: Regions = None,
    tune: TuneMode = Tune.off,
    argmax: Argmax = False,
    pareto: Pareto = False,
    out: Out = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compile a quantized model to C and firmware, run it emulated, compare the answers, write the report."""
    from mcuc import api

    chosen = None if profile is None else profile.value
    if pareto:
        given = (budget, flash, name, out, regions)
        if any(option is not None for option in given) or seed or argmax:
            left = "--budget, --flash, --name, --seed, --regions, --argmax and -o"
            raise typer.BadParameter(f"--pareto writes nothing: leave {left} out")
        with stages(verbose) as progress:
            found = api.pareto(
                model,
                board=board,
                optimize=optimize.value,
                toolchain=toolchain.value,
                profile=chosen,
                rows_in=rows_in,
                tune=tune.value,
                progress=progress,
            )
        show_tradeoff(found, as_json)
        return
    with stages(verbose) as progress:
        done = api.compile(
            model,
            board=board,
            budget=budget,
            flash=flash,
            optimize=optimize.value,
            toolchain=toolchain.value,
            profile=chosen,
            name=name,
            seed=seed,
            rows_in=rows_in,
            tune=tune.value,
            argmax=argmax,
            regions=[] if regions is None else [name.strip() for name in regions.split(",")],
            out=out,
            progress=progress,
        )
    show_compiled(done.report, done.out, as_json)
