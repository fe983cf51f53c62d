"""mcuc check: every node's verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mcuc.cli._options import DEFAULT_BOARD, BoardName, Json, Model, Verbose
from mcuc.cli._show import plain, say, show, show_json

if TYPE_CHECKING:
    from mcuc.checking import Checked

EXAMPLE = "Example:  mcuc check kws.tflite --board nucleo-f446re"


def command(model: Model, board: BoardName = DEFAULT_BOARD, as_json: Json = False, verbose: Verbose = False) -> None:
    """Judge every node: the kernel that it gets, or why not and what to do. Exits 1 if one is not supported."""
    from mcuc import api

    found = api.check(model, board=board)
    if as_json:
        show_json({**plain(found), "supported": found.supported})
    else:
        _show_table(found)
    bad = [n for n in found.nodes if n.problem]
    if found.supported:
        return
    lines = [*(f"{n.name}: {n.problem}" for n in bad), *found.problems]
    advice = next((n.try_this for n in bad if n.try_this), "")
    say(
        f"{model} cannot be compiled: {len(bad)} of {len(found.nodes)} nodes are not supported, first {lines[0]}\n"
        f"  where: {bad[0].name if bad else model}\n"
        f"  try:   {advice or 'change what is named; `mcuc ops` lists what is supported'}"
    )
    raise typer.Exit(1)


def _show_table(found: Checked) -> None:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "node",
        "operator",
        "kernel",
        "why, or why not",
        box=SIMPLE,
        pad_edge=False,
        title=Text(f"{found.model} on {found.board} ({found.core})"),
        title_justify="left",
    )
    for n in found.nodes:
        remark = Text(n.problem, style="red") if n.problem else Text(n.why)
        table.add_row(Text(n.name), n.op, "no" if n.problem else "+".join(n.kernels) or "none", remark)
    advice = dict.fromkeys(n.try_this for n in found.nodes if n.try_this)
    below = [*(f"try: {a}" for a in advice), *(f"note: {n}" for n in found.notes)]
    show(table, *(Text(p, style="red") for p in found.problems), *map(Text, below))
