"""What several commands print."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    from mcuc.report.types import Report
    from mcuc.tradeoff import Tradeoff

PIPE_WIDTH = 160  # columns where stdout is no terminal


@dataclass(frozen=True)
class _Harmless:
    """A renderable whose texts are cleaned as they are drawn; the colours, which rich adds, stay."""

    part: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        from mcuc.report.words import clean_lines

        for text, style, control in console.render(self.part, options):
            yield Segment(text if control else clean_lines(text), style, control)


def show(*parts: RenderableType) -> None:
    """Prints rich text on stdout; wide enough not to cut tables where stdout is a file or a pipe."""
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    for part in parts:
        console.print(_Harmless(part))


def say(message: str) -> None:
    """Prints a message on stderr. What it quotes may come from a hostile file, so nothing in it steers the terminal."""
    from mcuc.report.words import clean_lines

    print(f"mcuc: {clean_lines(message)}", file=sys.stderr)


def plain(value: Any) -> Any:
    """Dataclasses and tuples as mappings and lists."""
    import msgspec

    return msgspec.to_builtins(value)


def show_json(value: Any) -> None:
    """Prints dataclasses, mappings and sequences as JSON on stdout."""
    import json

    print(json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False))


def show_compiled(report: Report, out: Path, as_json: bool) -> None:
    """The report as text or JSON; ends with exit code 1 where the answers differ or the audit objects."""
    if as_json:
        from mcuc.report.json import to_json

        sys.stdout.write(to_json(report))
    else:
        from rich.text import Text

        from mcuc.report.text import summary

        show(summary(report), Text(f"written to {out}: report.html, report.json, {report.model}.c, firmware.elf ..."))
    if not report.verify.bit_exact:
        where = report.verify.first_diff_layer
        say(f"the answers differ from the {report.verify.oracle}\n  where: {where}\n"
            "  try:   report this as a bug, with the model")
        raise typer.Exit(1)
    if report.verify.audit:
        findings = "".join(f"\n  found: {finding}" for finding in report.verify.findings)
        say(
            f"the audit has {report.verify.audit} findings, what the emulator ran and silicon would refuse{findings}\n"
            f"  where: {out}/firmware.elf\n  try:   another --toolchain or --optimize; report this as a bug"
        )
        raise typer.Exit(1)


def show_tradeoff(found: Tradeoff, as_json: bool) -> None:
    """The SRAM-latency front of a model, from the fastest point to the smallest."""
    if as_json:
        show_json(found)
        return
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    from mcuc.report import words

    title = f"{words.clean(found.model)} on {words.clean(found.board)}, {words.clean(found.toolchain)}"
    table = Table(box=SIMPLE, pad_edge=False, title=Text(title), title_justify="left")
    copied = any(p.weights_in_ram + p.code_in_ram for p in found.points)
    labels = ("SRAM (B)", "arena (B)", "flash (B)", "instructions", "cycles", "ms", "streams", "MACs again")
    for label in (*labels, "weights, code in RAM (B)") if copied else labels:
        table.add_column(label, justify="right")
    for p in found.points:
        figures = map(words.count, (p.total, p.arena, p.flash, p.instructions, p.cycles))
        cells = [*figures, words.milliseconds(p.latency_ms), str(p.streams), words.count(p.extra_macs)]
        table.add_row(*cells, *([words.count(p.weights_in_ram + p.code_in_ram)] if copied else []))
    left = f"; {found.skipped} schedules between these were not built" if found.skipped else ""
    evidence = (
        "SRAM: planned, with static data and stack; flash: linked ELF; instructions: emulated, equal to the reference; "
        f"cycles and ms: estimated, within {100 * found.cycles_band:.0f} %{left}"
    )
    show(table, Text(evidence, style="dim"))
