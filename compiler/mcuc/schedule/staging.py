"""Weights of a layer copied to scratch while it runs, where the flash waits and the arena has bytes to spare just then.

A dot product reads all its weights again for every pixel or two; behind a flash that waits and a cache that is smaller
than they are, every time from the flash. The arena is as large as its fullest moment asks, so most layers find room for
their weights in it that costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mcuc.errors import McucError
from mcuc.latency.flash import flash_cycles
from mcuc.plan import Plan, live_bytes
from mcuc.schedule import Layer, Schedule, Segment
from mcuc.targets import Chip

PER_WORD = 2.0  # cycles to copy a word, about: a load from flash besides its line, a store, a share of the loop
SHARES = (1.0, 0.9, 0.75, 0.5)  # of the bytes to spare that are tried: a placement may not find all of them


def staged(schedule: Schedule, found: Plan, chip: Chip, place: Callable[[Schedule], Plan]) -> tuple[Schedule, Plan]:
    """The schedule with the weights of some of its layers staged, and its plan, whose arena is no larger than that of
    the plan found for it as it is; both as they are where nothing is gained.

    place: plans a schedule of the same graph, or raises McucError where it fits nowhere.
    """
    if not chip.weights_wait:
        return schedule, found
    live = live_bytes(found.buffers, found.ranges)
    for share in SHARES:
        units = [
            _staged(unit, chip, int(share * (found.arena - used))) if isinstance(unit, Layer) else unit
            for unit, used in zip(schedule.segments, live, strict=True)
        ]
        if all(a is b for a, b in zip(units, schedule.segments, strict=True)):
            break
        tried = Schedule(Segment("layers", tuple(units)))
        try:
            plan = place(tried)
        except McucError:  # regions of their own have no room for it
            continue
        if plan.arena <= found.arena:
            return tried, plan
    return schedule, found


def _staged(layer: Layer, chip: Chip, spare: int) -> Layer:
    """The layer with its weights in scratch, where so many bytes hold them and it saves cycles; else the layer."""
    if len(layer.calls) != 1:
        return layer
    call, kernel = layer.calls[0]
    tables = kernel.tables(call)
    if not tables:
        return layer
    size = tables[0].bytes
    made = replace(layer, staged=True, scratch=kernel.scratch(call) + size)
    saved = flash_cycles(layer, chip) - flash_cycles(made, chip) - PER_WORD * size / 4
    return made if size <= spare and saved > 0 else layer


def staged_bytes(layers: Sequence[Layer]) -> int:
    """Bytes of weights that are copied to scratch, all layers together."""
    return sum(kernel.tables(call)[0].bytes for layer in layers if layer.staged for call, kernel in layer.calls)
