"""mcuc doctor: which tools are there."""

from __future__ import annotations

import typer

from mcuc.cli._options import Json, Verbose
from mcuc.cli._progress import stages
from mcuc.cli._show import plain, say, show, show_json

EXAMPLE = "Example:  mcuc doctor"


def command(as_json: Json = False, verbose: Verbose = False) -> None:
    """Try every outside tool and say what it is for. Exits 1 if models cannot be compiled and verified here."""
    from mcuc import doctor

    with stages(verbose) as progress:
        probes = doctor.examine(progress)
    fine = doctor.ready(probes)
    if as_json:
        show_json({"ready": fine, "tools": plain(probes)})
    else:
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        table = Table("tool", "works", "found", "for", "to get it", box=SIMPLE, pad_edge=False)
        for p in probes:
            state = Text("yes", style="green") if p.works else Text("no", style="red" if p.required else "yellow")
            table.add_row(p.tool, state, Text(p.found), Text(p.purpose), Text("" if p.works else p.install))
        show(table)
    if not fine:
        lacking = [p for p in probes if not p.works and (p.required or p.tool in ("zig", "arm-none-eabi-gcc"))]
        say(
            f"models cannot be compiled and verified here: no working {', '.join(p.tool for p in lacking)}\n"
            f"  where: this machine\n"
            f"  try:   {'; '.join(p.install for p in lacking)}"
        )
        raise typer.Exit(1)
