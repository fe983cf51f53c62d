"""Which tables lie in the chip's own flash where weights lie outside it: those that save the most cycles there.

A table that is read many times an inference (a stream reads its weights once a block of tokens) costs its transfer
every time; one that is read once, once. What the code leaves of the chip's flash is filled so that the cycles saved are
the most there can be: the knapsack problem, solved exactly by dynamic programming over the bytes that are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mcuc.emit.model import Emitted
from mcuc.emit.tables import Content, content
from mcuc.latency.flash import Read, read_cycles, table_reads
from mcuc.schedule import Schedule
from mcuc.targets import Chip
from mcuc.toolchain import Firmware

UNIT = 32  # bytes: a cache line, to which tables are aligned
CELLS = 1 << 26  # of the table of dynamic programming; beyond it the units become larger


def kept(emitted: Emitted, schedule: Schedule, chip: Chip, room: int) -> tuple[str, ...]:
    """The symbols of the tables that lie inside, in the order of the generated code. chip: one with weights outside;
    room: bytes that the code leaves of its own flash."""
    saved = savings(emitted, schedule, chip)
    symbols = [symbol for symbol, _ in emitted.tables.values()]
    sizes = [size for _, size in emitted.tables.values()]
    chosen = knapsack(sizes, [saved[symbol] for symbol in symbols], room)
    return tuple(symbols[i] for i in chosen)


def savings(emitted: Emitted, schedule: Schedule, chip: Chip) -> Mapping[str, int]:
    """Symbol of a table -> cycles that an inference takes less with it inside. Tables besides the kernels' (of rows, of
    numbers) are taken to be read once."""
    reads: dict[str, list[Read]] = {}
    for layer in schedule.layers:
        for read in table_reads(layer, chip):
            found = emitted.tables.get(content(read.table))
            if found is not None:
                reads.setdefault(found[0], []).append(read)
    timing = chip.weights_region.read
    assert timing is not None
    saved = {}
    for symbol, size in emitted.tables.values():
        known = reads.get(symbol)
        if known is None:
            saved[symbol] = round(timing.cycles * -(-size // timing.bytes))
        else:
            saved[symbol] = round(sum(read_cycles(r, chip) - read_cycles(r, chip, inside=True) for r in known))
    return saved


def knapsack(sizes: Sequence[int], values: Sequence[int], room: int) -> tuple[int, ...]:
    """The numbers, ascending, of things of so many bytes whose values add up to the most that so many bytes hold.

    Exact for sizes rounded up to UNIT (to a multiple of it where there are very many things). The same input gives the
    same answer: of equal values the one without the later thing.
    """
    unit = UNIT
    while (len(sizes) + 1) * (max(0, room) // unit + 1) > CELLS:
        unit *= 2
    units, capacity = [-(-size // unit) for size in sizes], max(0, room) // unit
    best = np.zeros(capacity + 1, np.int64)
    taken = np.zeros((len(sizes), capacity + 1), bool)
    for i, (size, value) in enumerate(zip(units, values, strict=True)):
        if value > 0 and size <= capacity:
            with_it = best[: capacity + 1 - size] + value
            taken[i, size:] = with_it > best[size:]
            best[size:] = np.maximum(best[size:], with_it)
    chosen, left = [], capacity
    for i in reversed(range(len(sizes))):
        if taken[i, left]:
            chosen.append(i)
            left -= units[i]
    return tuple(reversed(chosen))


def contents(emitted: Emitted, firmware: Firmware) -> frozenset[Content]:
    """The tables that the firmware has in the chip's own flash though weights lie outside."""
    inside = set(firmware.inside)
    return frozenset(key for key, (symbol, _) in emitted.tables.items() if symbol in inside)
