"""What a layer waits for its weights where they lie in flash.

A kernel reads its tables once for so many pixels as it computes together. A data cache, or the accelerator's, holds
what is smaller than itself; larger tables are read again, in order, every time (least recently used lines are gone
before their turn comes).
"""

from __future__ import annotations

from mcuc.emulate.cycles import stream_cycles
from mcuc.schedule import Layer
from mcuc.targets import Chip

AGAIN = ("dot", "depthwise")  # families that read their tables for every pixel or pair of pixels


def flash_bytes(layer: Layer, chip: Chip) -> int:
    """Bytes of tables that one run of the layer reads from flash, the chip's own or outside it, past the caches."""
    between = 0 if chip.weights_in else chip.flash.accelerator.data_bytes  # it serves the chip's own flash
    held = chip.caches.dcache_bytes or between
    total = 0
    for call, kernel in layer.calls:
        sizes = [table.bytes for table in kernel.tables(call)]
        again = call.height * -(-call.width // kernel.pixels) if call.family in AGAIN and sum(sizes) > held else 1
        total += sizes.pop(0) if layer.staged else 0  # read once, to be copied
        total += again * sum(sizes)
    return total


def flash_cycles(layer: Layer, chip: Chip) -> int:
    """Cycles that these bytes add. Evidence class: estimated."""
    return round(stream_cycles(chip, flash_bytes(layer, chip)))
