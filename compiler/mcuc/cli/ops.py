"""mcuc ops: the support table."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mcuc.cli._options import Json
from mcuc.cli._show import show, show_json

EXAMPLE = "Example:  mcuc ops --markdown > docs/operators.md"
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the page that docs/operators.md is a copy of.")]


def command(markdown: Markdown = False, as_json: Json = False) -> None:
    """List the supported operators with their names in TFLite and ONNX and their limits."""
    from mcuc.ops import support

    rows = support.supported()
    if as_json:
        show_json(rows)
        return
    if markdown:
        sys.stdout.write(support.to_markdown(rows))
        return
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table("operator", "TFLite", "ONNX", "limits", box=SIMPLE, pad_edge=False, show_lines=False)
    for row in rows:
        table.add_row(
            row.name,
            Text(", ".join(row.tflite) or "-"),
            Text(", ".join(row.onnx) or "-"),
            Text("; ".join(row.limits) or "-"),
        )
    show(table)
