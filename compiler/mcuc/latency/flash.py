"""What a layer waits for its weights where they lie in flash.

A kernel reads its tables once for so many pixels as it computes together, by blocks of channels once for all columns
that are there (schedule/channel_blocks.py). A data cache, or the accelerator's, holds what is smaller than itself;
larger tables are read again, in order, every time (least recently used lines are gone before their turn comes).

Outside the chip a line that follows the one before it costs less than one with a command of its own, and a kernel that
asks for lines ahead (Kernel.ahead) computes while they come: then it waits for what takes longer than its inner loops.
Linefills of the Cortex-M7 are non-blocking (TRM DDI 0489, L1 caches), and PLD starts one (Arm erratum 1013783 says of
which addresses). How much of a linefill is hidden nobody has published: evidence class estimated.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from msgspec.structs import replace

from mcuc.emit.tables import Content, content
from mcuc.emulate.cycles import stream_cycles
from mcuc.kernels._base import Call, Table
from mcuc.schedule import Layer
from mcuc.targets import Chip

AGAIN = ("dot", "depthwise")  # families that read their tables for every pixel or pair of pixels
LOOP = 0.5  # cycles a MAC that an inner loop which asks for lines ahead takes at least: 8 dual multiplications for 16


@dataclass(frozen=True)
class Read:
    """A table of one of a layer's calls: how often one run of the layer reads it from flash, past the caches. hidden:
    cycles that the call computes while lines come that it has asked for; scattered: its lines are not read one behind
    the other, so that each needs a command; apart: between those of a larger table, which then needs one more, too."""

    table: Table
    times: int
    hidden: float = 0.0
    apart: bool = False
    scattered: bool = False

    @property
    def bytes(self) -> int:
        return self.times * self.table.bytes


def table_reads(layer: Layer, chip: Chip) -> list[Read]:
    """How one run of the layer reads the tables of its calls from flash, the chip's own or outside it: in order."""
    between = 0 if chip.weights_in else chip.flash.accelerator.data_bytes  # it serves the chip's own flash
    held = chip.caches.dcache_bytes or between
    found = []
    for call, kernel in layer.calls:
        tables = kernel.tables(call)
        large = call.family in AGAIN and sum(table.bytes for table in tables) > held
        at_once = layer.tiling.columns or call.width if layer.by_channels else kernel.pixels
        again = call.height * -(-call.width // at_once) if large else 1
        hidden = LOOP * _macs(call) if kernel.ahead else 0.0
        largest = max(range(len(tables)), key=lambda i: tables[i].bytes, default=0)
        for i, table in enumerate(tables):
            if i > 0:
                found.append(Read(table, again, apart=i != largest))
            elif layer.staged:
                found.append(Read(table, again if layer.block else 1))  # to be copied
            else:
                found.append(Read(table, again, hidden, apart=i != largest, scattered=not kernel.front_to_back))
    return found


def _macs(call: Call) -> int:
    p = call.params
    return int(call.height * call.width * call.channels * p["kh"] * p["kw"] * p["cin"])


def flash_cycles(layer: Layer, chip: Chip, inside: Collection[Content] = ()) -> int:
    """Cycles that a run of the layer takes longer because its tables lie in flash. inside: tables in the chip's own
    flash where weights lie outside it. Evidence class: estimated."""
    reads = table_reads(layer, chip)
    return round(sum(read_cycles(r, chip, bool(inside) and content(r.table) in inside) for r in reads))


def read_cycles(read: Read, chip: Chip, inside: bool = False) -> float:
    """Cycles that these reads add. inside: from the chip's own flash though weights lie outside it."""
    timing = chip.weights_region.read
    if timing is None or inside:
        return stream_cycles(replace(chip, weights_in="") if chip.weights_in else chip, read.bytes)
    lines = -(-read.table.bytes // timing.bytes)
    after = timing.cycles if read.scattered else timing.next_cycles or timing.cycles
    first = timing.cycles if lines else 0.0
    if read.apart:
        return read.times * lines * (2 * timing.cycles - after)
    return read.times * first + max(0.0, read.times * max(0, lines - 1) * after - read.hidden)
