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
WIDEN = 1.5  # cycles to widen an activation, about
BEHIND = 8  # bytes behind a block that inner loops load ahead and do not use (kernels/dot/_pairs.py, AHEAD)
LEAST, ENOUGH = 16, 64  # channels of a block: with 64 widening again costs about 4 % of the multiplications
SHARES = (1.0, 0.9, 0.75, 0.5)  # of the bytes to spare that are tried: a placement may not find all of them


def staged(
    schedule: Schedule, found: Plan, chip: Chip, place: Callable[[Schedule], Plan], most: int = 0
) -> tuple[Schedule, Plan]:
    """The schedule with the weights of some of its layers staged, and its plan, whose arena is no larger than that of
    the plan found for it as it is; both as they are where nothing is gained.

    place: plans a schedule of the same graph, or raises McucError where it fits nowhere. most: bytes to which the arena
    may grow after all for blocks of weights from outside the chip.
    """
    most = max(most, found.arena)
    if not chip.weights_wait:
        return schedule, found
    live = live_bytes(found.buffers, found.ranges)
    for share in SHARES:
        units = [
            _staged(unit, chip, int(share * (found.arena - used)), int(share * (most - used)))
            if isinstance(unit, Layer)
            else unit
            for unit, used in zip(schedule.segments, live, strict=True)
        ]
        if all(a is b for a, b in zip(units, schedule.segments, strict=True)):
            break
        tried = Schedule(Segment("layers", tuple(units)))
        try:
            plan = place(tried)
        except McucError:  # regions of their own have no room for it
            continue
        if plan.arena <= (most if any(layer.block for layer in tried.layers) else found.arena):
            return tried, plan
    return schedule, found


def _staged(layer: Layer, chip: Chip, spare: int, most: int) -> Layer:
    """The layer with its weights in scratch, where `spare` bytes hold them, or `most` bytes blocks of them, and it
    saves cycles; else the layer."""
    if len(layer.calls) != 1:
        return layer
    call, kernel = layer.calls[0]
    tables = kernel.tables(call)
    if not tables:
        return layer
    size = tables[0].bytes
    if size > spare:
        return _by_blocks(layer, chip, most)
    made = replace(layer, staged=True, scratch=kernel.scratch(call) + size)
    return made if _saved(layer, made, chip) > 0 else layer


def _saved(layer: Layer, made: Layer, chip: Chip) -> float:
    """Cycles that the layer takes less when staged, about."""
    call, kernel = layer.calls[0]
    copied = kernel.tables(call)[0].bytes
    return flash_cycles(layer, chip) - flash_cycles(made, chip) - PER_WORD * copied / 4


def _by_blocks(layer: Layer, chip: Chip, spare: int) -> Layer:
    """The layer with some channels' weights at a time in scratch, as many as so many bytes hold, if there is a gain.

    For weights outside the chip alone: every block goes through all pixels again, whose activations are widened again,
    which only a slow flash is worth. So no output lies over an input, of which the spare bytes may have made use.
    """
    call, kernel = layer.calls[0]
    group = kernel.group_bytes(call)
    if not chip.weights_in or not group or call.channels % 4 or layer.tiling.channels or layer.pitch:
        return layer
    overlaid = min(call.height * call.out_row_bytes, sum(rows.height * rows.row_bytes for rows in call.rows))
    most = (spare - overlaid - kernel.scratch(call) - BEHIND) // group  # groups of four channels
    groups = call.channels // 4
    if most < LEAST // 4:
        return layer
    blocks = -(-groups // min(most, ENOUGH // 4))
    each = -(-groups // blocks)
    scratch = kernel.scratch(call) + each * group + BEHIND
    made = replace(layer, staged=True, block=4 * each, scratch=scratch)
    taps = layer.macs // call.channels  # of all pixels
    return made if _saved(layer, made, chip) > (blocks - 1) * WIDEN * taps else layer


def staged_bytes(layers: Sequence[Layer]) -> int:
    """Bytes of weights that are copied to scratch, all layers together."""
    return sum(kernel.tables(call)[0].bytes for layer in layers if layer.staged for call, kernel in layer.calls)
