"""mcuc boards: what can be compiled for."""

from __future__ import annotations

from mcuc.cli._options import Json
from mcuc.cli._show import show, show_json

EXAMPLE = "Example:  mcuc boards --json"


def command(as_json: Json = False) -> None:
    """List the boards: chip, core, clock, SRAM and flash, as their TOML files say."""
    from mcuc.sizes import format_size
    from mcuc.targets import list_boards

    boards = list_boards()
    if as_json:
        show_json(
            [
                {
                    "name": b.name,
                    "title": b.title,
                    "chip": b.chip.name,
                    "core": b.chip.core,
                    "fpu": b.chip.fpu,
                    "dsp": b.chip.dsp,
                    "clock_hz": b.chip.clock_hz,
                    "sram_bytes": b.sram_bytes,
                    "flash_bytes": b.flash_bytes,
                    "external_flash_bytes": b.all_flash_bytes - b.flash_bytes,
                }
                for b in boards
            ]
        )
        return
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table("board", "chip", "core", "clock", "SRAM", "flash", "what it is", box=SIMPLE, pad_edge=False)
    for b in boards:
        table.add_row(
            b.name,
            b.chip.name,
            b.chip.core,
            f"{b.chip.clock_hz / 1e6:g} MHz",
            format_size(b.sram_bytes),
            " + ".join(format_size(n) for n in (b.flash_bytes, b.all_flash_bytes - b.flash_bytes) if n),
            Text(b.title),
        )
    show(
        table,
        Text(
            "1 KB is 1024 bytes. SRAM is what data, arena and stack share; flash + flash outside the chip for weights. "
            "A .toml file of your own works too: docs/adding-a-board.md",
            style="dim",
        ),
    )
