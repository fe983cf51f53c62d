"""mcuc profile: what each layer costs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mcuc.cli._options import DEFAULT_BOARD, BoardName, Goal, Json, Model, Optimize, Toolchain, ToolchainName, Verbose
from mcuc.cli._progress import stages
from mcuc.cli._show import plain, show, show_json

if TYPE_CHECKING:
    from mcuc.report.types import LayerReport, Report

EXAMPLE = "Example:  mcuc profile kws.tflite --board nucleo-l4r5zi --sort cycles"


class Sort(StrEnum):
    order = "order"
    cycles = "cycles"
    instructions = "instructions"
    macs = "macs"
    sram = "sram"


SortOption = Annotated[Sort, typer.Option("--sort", help="Order of execution, or the largest first.")]


def command(
    model: Model,
    board: BoardName = DEFAULT_BOARD,
    optimize: Goal = Optimize.balanced,
    toolchain: ToolchainName = Toolchain.auto,
    sort: SortOption = Sort.order,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compile a model in a temporary folder and show each layer's kernel, MACs, instructions, cycles and live SRAM."""
    from mcuc import api

    with stages(verbose) as progress:
        report = api.profile(model, board=board, optimize=optimize.value, toolchain=toolchain.value, progress=progress)
    layers = sorted(enumerate(report.layers), key=lambda pair: _rank(pair[1], sort))
    if as_json:
        rows = [
            {**plain(x), "index": i, "mac_per_cycle": round(x.macs / x.cycles, 4) if x.cycles else None}
            for i, x in layers
        ]
        show_json(
            {
                "model": report.model,
                "board": report.board,
                "core": report.core,
                "clock_hz": report.clock_hz,
                "toolchain": report.toolchain,
                "macs": report.macs,
                "instructions": report.instructions,
                "cycles": report.cycles,
                "cycles_band": report.cycles_band,
                "latency_ms": report.latency_ms,
                "evidence": dict(report.evidence),
                "layers": rows,
            }
        )
    else:
        _show_table(report, layers)


def _rank(layer: LayerReport, sort: Sort) -> int:
    return {
        Sort.order: 0,
        Sort.cycles: -layer.cycles,
        Sort.instructions: -layer.instructions,
        Sort.macs: -layer.macs,
        Sort.sram: -layer.sram_live,
    }[sort]


def _show_table(report: Report, layers: list[tuple[int, LayerReport]]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    from mcuc.report import words

    table = Table(
        box=SIMPLE,
        pad_edge=False,
        show_footer=True,
        title=Text(
            f"{words.clean(report.model)} on {report.board}: {report.core} at {report.clock_hz / 1e6:g} MHz, "
            f"{report.toolchain}"
        ),
        title_justify="left",
    )
    table.add_column("#", justify="right")
    table.add_column("layer", "sum")
    table.add_column("operator")
    table.add_column("kernel")
    share = [f"{100 * x.cycles / max(1, report.cycles):.1f} %" for _, x in layers]
    for label, total in (
        ("MACs", words.count(report.macs)),
        ("instructions", words.count(report.instructions)),
        ("cycles", words.count(report.cycles)),
        ("share", ""),
        ("MAC/cycle", words.macs_per_cycle(report.macs, report.cycles)),
        ("live SRAM (B)", words.count(report.sram.arena)),
    ):
        table.add_column(label, total, justify="right")
    for (i, x), part in zip(layers, share, strict=True):
        table.add_row(
            str(i),
            Text(words.clean(x.name)),
            x.op,
            x.kernel,
            words.count(x.macs),
            words.count(x.instructions),
            words.count(x.cycles),
            part,
            words.macs_per_cycle(x.macs, x.cycles),
            words.count(x.sram_live),
        )
    show(
        table,
        Text(
            f"instructions: {report.evidence['instructions']}; cycles: {report.evidence['cycles']}, "
            f"within {100 * report.cycles_band:.0f} %; {report.latency_ms:g} ms an inference",
            style="dim",
        ),
    )
