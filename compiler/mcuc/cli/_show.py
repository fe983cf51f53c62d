"""What several commands print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mcuc.report.types import Report

PIPE_WIDTH = 160  # columns where stdout is no terminal


def show(*parts: RenderableType) -> None:
    """Prints rich text on stdout; wide enough not to cut tables where stdout is a file or a pipe."""
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    for part in parts:
        console.print(part)


def plain(value: Any) -> Any:
    """Dataclasses and tuples as mappings and lists."""
    import msgspec

    return msgspec.to_builtins(value)


def show_json(value: Any) -> None:
    """Prints dataclasses, mappings and sequences as JSON on stdout."""
    import json

    print(json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False))


def show_compiled(report: Report, out: Path, as_json: bool) -> None:
    """The report as text or JSON; ends with exit code 1 where the answers differ."""
    if as_json:
        from mcuc.report.json import to_json

        sys.stdout.write(to_json(report))
    else:
        from rich.text import Text

        from mcuc.report.text import summary

        show(summary(report), Text(f"written to {out}: report.html, report.json, {report.model}.c, firmware.elf ..."))
    if not report.verify.bit_exact:
        where = report.verify.first_diff_layer
        print(
            f"mcuc: the answers differ from the {report.verify.oracle}, first in {where}\n"
            "  try:   report this as a bug, with the model",
            file=sys.stderr,
        )
        raise typer.Exit(1)
