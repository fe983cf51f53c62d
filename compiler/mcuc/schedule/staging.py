"""Weights of a layer copied to scratch while it runs, where the flash waits and the arena has bytes to spare just then.

A dot product reads all its weights again for every pixel or two; behind a flash that waits and a cache that is smaller
than they are, every time from the flash. The arena is as large as its fullest moment asks, so most layers find room for
their weights in it that costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mcuc.errors import McucError
from mcuc.latency.flash import flash_cycles, table_reads
from mcuc.plan import Plan, live_bytes
from mcuc.schedule import Layer, Schedule, Segment
from mcuc.schedule.channel_blocks import BEHIND
from mcuc.targets import Chip

PER_WORD = 2.0  # cycles to copy a word, about: a load from flash besides its line, a store, a share of the loop
WIDEN = 1.5  # cycles to widen an activation, about
LEAST, ENOUGH = 16, 64  # channels of a block: with 64 widening again costs about 4 % of the multiplications
LEAST_IN_STREAM = 8  # where every block of tokens has its own copy, the rest of the arena is often short
SHARES = (1.0, 0.9, 0.75, 0.5, 0.25)  # of the bytes to spare that are tried: a placement may not find all of them


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
            else _in_stream(unit, chip, int(share * (most - used)))
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
    size, has = tables[0].bytes, layer.scratch - kernel.scratch(call)  # of copies that it makes already
    plain = replace(layer, staged=False, block=0, scratch=kernel.scratch(call)) if has else layer
    if size > spare + has:
        made = _by_blocks(plain, chip, most + has)
        return layer if made is plain else made
    made = replace(plain, staged=True, scratch=plain.scratch + size)
    return made if _saved(plain, made, chip) > 0 else layer


def _saved(layer: Layer, made: Layer, chip: Chip) -> float:
    """Cycles that the layer takes less when staged, about."""
    copied = table_reads(made, chip)[0].bytes
    return flash_cycles(layer, chip) - flash_cycles(made, chip) - PER_WORD * copied / 4


def _by_blocks(layer: Layer, chip: Chip, spare: int) -> Layer:
    """The layer with some channels' weights at a time in scratch, as many as so many bytes hold, if there is a gain.

    For weights outside the chip alone: every block goes through all pixels again, whose activations are widened again,
    which only a slow flash is worth. So no output lies over an input, of which the spare bytes may have made use.
    """
    call, kernel = layer.calls[0]
    if not chip.weights_in or call.channels % 4 or layer.tiling.channels or layer.pitch:
        return layer
    overlaid = min(call.height * call.out_row_bytes, sum(rows.height * rows.row_bytes for rows in call.rows))
    return _with_block(layer, chip, spare - overlaid - kernel.scratch(call), LEAST)


def _in_stream(unit: Segment, chip: Chip, spare: int) -> Segment:
    """The stream with members that copy their weights a block of channels at a time, into scratch that they take turns
    with: so a weight is read once a block of tokens, or once a row."""
    stream = unit.stream
    if stream is None or stream.strips or stream.group or (stream.steps and not stream.blocks):
        return unit
    layers = [layer for layer in unit.members if isinstance(layer, Layer)]
    shared = max(layer.scratch for layer in layers)
    made = [_copying(layer, chip, spare + shared) for layer in layers]
    return unit if made == layers else replace(unit, members=tuple(made))


def _copying(layer: Layer, chip: Chip, room: int) -> Layer:
    """The member with the largest block that `room` bytes of scratch hold, if there is a gain; else as it is."""
    if len(layer.calls) != 1 or layer.reduction is not None or layer.tiling.channels:
        return layer
    call, kernel = layer.calls[0]
    plain = replace(layer, staged=False, block=0, scratch=kernel.scratch(call))
    made = _with_block(plain, chip, room - plain.scratch, LEAST_IN_STREAM)
    return made if made is not plain else layer


def _with_block(layer: Layer, chip: Chip, room: int, least: int) -> Layer:
    """The layer with a block of at least so many channels staged in `room` bytes, if there is a gain."""
    call, kernel = layer.calls[0]
    group = kernel.group_bytes(call)
    if not group:
        return layer
    most, groups = (room - BEHIND) // group, -(-call.channels // 4)  # groups of four channels
    if most < least // 4:
        return layer
    blocks = -(-groups // min(most, ENOUGH // 4))
    each = -(-groups // blocks)
    made = replace(layer, staged=True, block=4 * each, scratch=kernel.scratch(call) + each * group + BEHIND)
    taps = layer.macs // call.channels  # of all pixels
    return made if _saved(layer, made, chip) > (blocks - 1) * WIDEN * taps else layer


def staged_bytes(layers: Sequence[Layer]) -> int:
    """Bytes of weights that are copied to scratch, all layers together."""
    return sum(kernel.tables(call)[0].bytes for layer in layers if layer.staged for call, kernel in layer.calls)
