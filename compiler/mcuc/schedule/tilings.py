"""Units that cost MACs or sums: strips and groups of channels, tried where they could lower the network's peak.

Both are tried after everything that computes nothing twice, and only on runs of layers that matter: those that bridge
the layers at which every partition so far has its peak. A network has few of them, so that this takes a small part of
the time that all streams take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mcuc.ir import Graph
from mcuc.plan.accesses import stream_accesses
from mcuc.schedule import Layer
from mcuc.schedule.groups import bottleneck
from mcuc.schedule.lives import Lives, needed_whole
from mcuc.schedule.stream import Member, make_stream, members_of, replay
from mcuc.schedule.strips import strips_of
from mcuc.schedule.tokens import one_row
from mcuc.schedule.units import BLOCKS, Unit, stream_unit

STRIPS = (2, 3, 4)
GROUPS = (64, 32, 16, 8)  # channels: whole words of them, for kernels that load four at a time
Run = tuple[int, int]  # layers [begin, end)


def lower_units(
    found: Sequence[Unit], layers: Sequence[Layer], graph: Graph, lives: Lives, taken: int = -1
) -> list[Unit]:
    """Units in strips and groups of channels with which a partition gets below the lowest peak of units `found`.

    Each has a lower peak than every stream over the same layers. taken: the last layer that reads an input that
    arrives by rows; its rows come once, so that only layers behind it can be cut. -1 where there is no such input.
    """
    best: dict[Run, int] = {}
    for unit in found:
        if unit.block is not None and unit.begin > taken:
            best[unit.begin, unit.end] = min(unit.peak, best.get((unit.begin, unit.end), unit.peak))
    more: list[Unit] = []
    tried: set[Run] = set()
    while True:
        lowest, runs = bridges([*found, *more], best, len(layers))
        new: list[Unit] = []
        for begin, end in runs:
            if (begin, end) in tried or least_peak(begin, end, lives) >= lowest:
                continue
            tried.add((begin, end))
            members = members_of(layers[begin:end], graph, needed_whole(layers, begin, end, graph, lives))
            assert members is not None
            if one_row(members):  # a strip of tokens is a block of them
                continue
            options = (*_in_groups(begin, end, members, graph, lives), *_in_strips(begin, end, members, graph, lives))
            new += [unit for unit in options if unit.peak < min(lowest, best[begin, end])]
        if not new:
            return more
        more += new


def bridges(found: Sequence[Unit], runs: Mapping[Run, int], count: int) -> tuple[int, list[Run]]:
    """The lowest peak of a partition of `count` layers, and the runs between whose ends and the network's ends units
    with lower peaks lead: only a unit over one of these can lower the peak."""
    never = 1 + max((unit.peak for unit in found), default=0)
    before, behind = [0] + [never] * count, [never] * count + [0]
    for unit in sorted(found, key=lambda u: u.end):
        before[unit.end] = min(before[unit.end], max(before[unit.begin], unit.peak))
    for unit in sorted(found, key=lambda u: -u.begin):
        behind[unit.begin] = min(behind[unit.begin], max(behind[unit.end], unit.peak))
    lowest = before[count]
    return lowest, [(b, e) for b, e in sorted(runs) if before[b] < lowest and behind[e] < lowest]


def least_peak(begin: int, end: int, lives: Lives) -> int:
    """Bytes that layers [begin, end) hold at once in strips, lines aside: all that they read or pass by, and all that
    they leave behind."""
    pieces = (piece for found in lives.pieces.values() for piece in found)
    return sum(
        high - low
        for low, high, first, last in pieces
        if first < end and last >= begin and (first < begin or last >= end)
    )


def _in_strips(
    begin: int, end: int, members: tuple[Member, ...], graph: Graph, lives: Lives
) -> Iterator[Unit]:
    played = None
    for count in STRIPS:
        strips = strips_of(members, count)
        if strips is None:
            continue
        played = played or replay(members)
        touched = None
        for block in BLOCKS:
            stream = make_stream(members, graph, block, None, played, exact=False, strips=strips)
            touched = touched or stream_accesses(stream, members, graph)
            yield stream_unit(begin, end, block, members, stream, touched, graph, lives)


def _in_groups(
    begin: int, end: int, members: tuple[Member, ...], graph: Graph, lives: Lives
) -> Iterator[Unit]:
    played, touched = None, None
    for group in GROUPS:
        if bottleneck(members, group) is None:
            continue
        played = played or replay(members)
        stream = make_stream(members, graph, played=played, group=group)
        touched = touched or stream_accesses(stream, members, graph)
        yield stream_unit(begin, end, 0, members, stream, touched, graph, lives)
