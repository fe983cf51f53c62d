"""How a network is cut into layers that run alone and streams: peak SRAM and cost of every cut, and the front of both.

A unit covers layers [begin, end) in execution order. Its peak is the most bytes alive in one tick while it runs, no
placement can be below it; its cost is what it takes more instructions than its layers alone. Along a path of units the
peak is the highest, the costs add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mcuc.ir import Graph
from mcuc.schedule import Layer, Schedule, Segment, Stream
from mcuc.schedule.lives import Common, Lives, lives_of, needed_whole
from mcuc.schedule.members import MOST_MEMBERS
from mcuc.schedule.runs import growing_members
from mcuc.schedule.stream import Member, make_stream, members_of, stream_segment
from mcuc.schedule.strips import strips_of
from mcuc.schedule.tilings import lower_units
from mcuc.schedule.tokens import one_row, token_stream
from mcuc.schedule.units import Unit, alone, streams_over

FINE, COARSE = 48, 256  # partitions of a front, behind which the next one's peak is lower by at least so small a part


@dataclass(frozen=True, eq=False)
class Partition:
    """Units that cover all layers in order. peak: bytes that no placement can be below; cost: extra instructions."""

    units: tuple[Unit, ...]
    peak: int
    cost: float


def units(
    layers: Sequence[Layer],
    graph: Graph,
    pushed: str | None = None,
    common: Common | None = None,
    streams: bool = True,
) -> list[Unit]:
    """Every layer alone and every run of layers that can be a stream, in all blocks, and in strips or by groups of
    channels those with which the lowest peak gets lower. pushed: an input that arrives by rows; then the first unit is
    the stream that takes it in. streams: False for layers alone."""
    lives = lives_of(layers, graph, pushed, common)
    taken = -1 if pushed is None else lives.last[pushed]
    found = []
    single = [alone(layers, begin, graph, lives) for begin in range(len(layers))]
    if not streams:
        return single
    for begin in range(len(layers)):
        if pushed is None or begin > taken:
            found.append(single[begin])
        elif begin > 0:
            continue  # the stream that takes the input in covers all its readers
        arriving = pushed if begin == 0 else None
        if arriving is None:
            runs = growing_members(layers, begin, graph, lives)
        else:
            runs = _taking(arriving, taken, layers, graph, lives)
        for end, members in runs:
            worst = max(unit.peak for unit in single[begin:end])
            found += streams_over(begin, end, members, graph, lives, arriving, worst)
    return [*found, *lower_units(found, layers, graph, lives, taken)]


def _taking(
    pushed: str, taken: int, layers: Sequence[Layer], graph: Graph, lives: Lives
) -> Iterator[tuple[int, tuple[Member, ...]]]:
    """(end, members) of the streams from the first layer on that take in the input that arrives by rows, which layer
    `taken` reads last."""
    for end in range(taken + 1, min(len(layers), MOST_MEMBERS) + 1):
        members = members_of(layers[:end], graph, needed_whole(layers, 0, end, graph, lives), pushed)
        if members is not None:
            yield end, members


def front(found: Sequence[Unit], count: int) -> list[Partition]:
    """From the cheapest partition to the one with the lowest peak: each the cheapest below the peak of the last."""
    by_end: list[list[Unit]] = [[] for _ in range(count + 1)]
    for unit in found:
        by_end[unit.end].append(unit)
    partitions: list[Partition] = []
    below: float = float("inf")
    while True:
        best = cheapest(by_end, count, lambda u: u.peak < below)  # noqa: B023
        if best is None:
            if not partitions or below == partitions[-1].peak:
                return partitions
            below = partitions[-1].peak  # the last coarse step was too large
            continue
        partitions.append(best)
        below = best.peak - (best.peak // COARSE if len(partitions) > FINE else 0)


def cheapest(by_end: Sequence[Sequence[Unit]], count: int, allowed: Callable[[Unit], bool]) -> Partition | None:
    """The partition of allowed units with the lowest cost, then the fewest units; None where there is none."""
    best: list[tuple[float, int, Unit | None] | None] = [(0.0, 0, None)] + [None] * count
    for end in range(1, count + 1):
        for unit in by_end[end]:
            before = best[unit.begin]
            if before is None or not allowed(unit):
                continue
            candidate = (before[0] + unit.cost, before[1] + 1, unit)
            known = best[end]
            if known is None or candidate[:2] < known[:2]:
                best[end] = candidate
    last = best[count]
    if last is None:
        return None
    path: list[Unit] = []
    at = count
    while at > 0:
        entry = best[at]
        assert entry is not None and entry[2] is not None
        path.append(entry[2])
        at = entry[2].begin
    return Partition(tuple(reversed(path)), max((u.peak for u in path), default=0), last[0])


def stream_of(unit: Unit, members: Sequence[Member], graph: Graph, pushed: str | None) -> Stream:
    """The stream of a unit over its members, worked out."""
    assert unit.block is not None
    if pushed is None and one_row(members):
        return token_stream(members, graph, unit.block)
    strips = strips_of(members, unit.strips) if unit.strips else ()
    assert strips is not None
    return make_stream(members, graph, unit.block, pushed, strips=strips, group=unit.group)


def schedule_of(
    partition: Partition, layers: Sequence[Layer], graph: Graph, pushed: str | None = None
) -> Schedule:
    """The partition as a tree of segments."""
    lives = lives_of(layers, graph)
    parts: list[Layer | Segment] = []
    for unit in partition.units:
        if unit.block is None:
            parts.append(layers[unit.begin])
            continue
        arriving = pushed if unit.begin == 0 else None
        whole = needed_whole(layers, unit.begin, unit.end, graph, lives)
        members = members_of(layers[unit.begin : unit.end], graph, whole, arriving)
        assert members is not None
        parts.append(stream_segment(members, stream_of(unit, members, graph, arriving)))
    return Schedule(Segment("layers", tuple(parts)))
