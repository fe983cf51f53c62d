"""mcuc verify: the compiled model against an oracle on given samples."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mcuc.cli._options import DEFAULT_BOARD, BoardName, Json, Model, Seed, Toolchain, ToolchainName, Verbose
from mcuc.cli._progress import stages
from mcuc.cli._show import say, show, show_json

if TYPE_CHECKING:
    from mcuc.verify.model import Verification

EXAMPLE = "Example:  mcuc verify kws.tflite --data keywords.npz --emulate 20"


class Oracle(StrEnum):
    auto = "auto"
    numpy = "numpy"
    tflite_micro = "tflite-micro"
    litert = "litert"
    onnxruntime = "onnxruntime"


Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FILE.npz|NAME",
        show_default=False,
        help="An .npz with x (the input's integers, uint8 images, or floats) and optionally "
        "labels y, or a bundled data set's name. Default: seeded random samples.",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples", metavar="N", min=1, show_default=False, help="Only the first N samples, or N random ones."
    ),
]
Emulate = Annotated[
    int, typer.Option("--emulate", metavar="N", min=0, help="How many of them also run on the emulated core.")
]
OracleOption = Annotated[
    Oracle, typer.Option("--oracle", help="What to compare with; auto: the file format's own runtime.")
]


def command(
    model: Model,
    board: BoardName = DEFAULT_BOARD,
    data: Data = None,
    samples: Samples = None,
    emulate: Emulate = 2,
    oracle: OracleOption = Oracle.auto,
    toolchain: ToolchainName = Toolchain.auto,
    seed: Seed = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compile a model in a temporary folder and compare its answers with an oracle. Exits 1 if one differs."""
    from mcuc import api

    with stages(verbose) as progress:
        found = api.verify(
            model,
            board=board,
            data=data,
            samples=samples,
            emulate=emulate,
            oracle=oracle.value,
            toolchain=toolchain.value,
            seed=seed,
            progress=progress,
        )
    if as_json:
        show_json(found)
    else:
        _show_text(found)
    if not found.bit_exact:
        say(
            f"{found.differing} of {found.elements} output elements differ from {found.oracle}, by up to "
            f"{found.max_abs_diff}; first in sample {found.first_diff_sample}\n  where: {found.first_diff_layer}\n"
            "  try:   report this as a bug, with the model"
        )
        raise typer.Exit(1)


def _show_text(found: Verification) -> None:
    from rich.text import Text

    verdict = ("bit-exact", "bold green") if found.bit_exact else (f"{found.differing} elements differ", "bold red")
    lines = [
        f"{found.host} samples ({found.inputs}) on the host, {found.emulated} of them emulated: {found.elements:,} "
        f"output elements compared with {found.oracle}"
    ]
    if found.first_diff_layer is not None:
        lines.append(f"largest difference {found.max_abs_diff}; first differing layer: {found.first_diff_layer}")
    if found.accuracy is not None:
        lines.append(f"accuracy {100 * found.accuracy:.2f} % of {found.host} samples")
    show(Text.assemble((f"{found.model} on {found.board}: ", "bold"), verdict), *(Text(line) for line in lines))
