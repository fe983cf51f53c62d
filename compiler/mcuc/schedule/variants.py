"""Where to copy and where not: both forms of concatenations and slices in one search.

Layers that write their pixels apart in a concatenation cannot be members of a stream, and a stream cannot run across a
concatenation that computes nothing; so the fastest form is not always the smallest. The choice is made block by block:
a block is a run of layers outside of which both forms have the same tensors alive, with the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mcuc.ir import Graph
from mcuc.schedule import Layer
from mcuc.schedule.lives import Common, Lives, lives_of
from mcuc.schedule.partition import Partition, front, units
from mcuc.schedule.runs import growing_members
from mcuc.schedule.units import Unit, alone, streams_over
from mcuc.schedule.views import moved_bytes, places

# Instructions, on an emulated Cortex-M4: 0.6 a byte where parts have 64 channels, 1.7 where they have 4.
PER_COPIED_BYTE = 1.0


def front_of_both(
    copying: tuple[Layer, ...],
    direct: tuple[Layer, ...],
    graph: Graph,
    pushed: str | None = None,
    common: Common | None = None,
    streams: bool = True,
) -> list[tuple[Partition, tuple[Layer, ...]]]:
    """The front of partitions, each with its layers: of every block either those that copy or those that do not.

    copying: all layers of the graph's nodes; direct: without_copies of them. pushed: an input that arrives by rows;
    the stream that takes it in copies. common: of all forms that compete. Costs count from the fastest schedule that
    is made of layers alone. streams: False for those made of layers alone, which are found soon.
    """
    common = common or Common()
    found = units(copying, graph, pushed, common, streams)
    taken = -1 if pushed is None else lives_of(copying, graph, pushed).last[pushed]
    lives = lives_of(direct, graph, pushed, common)
    inner: dict[Unit, Partition] = {}
    total = 0.0
    for begin, end in blocks(copying, direct, graph):
        if begin <= taken:
            continue
        saved = PER_COPIED_BYTE * (moved_bytes(copying[begin:end]) - moved_bytes(direct[begin:end]))
        total += saved
        inside = _within(direct, begin, end, graph, lives, streams)
        own = [replace(u, begin=u.begin - begin, end=u.end - begin) for u in inside]
        for part in front(own, end - begin):
            inner[Unit(begin, end, None, part.peak, part.cost - saved)] = part
    return [
        (_resolved(p, inner, total), _layers(p, inner, copying, direct)) for p in front([*found, *inner], len(copying))
    ]


def blocks(copying: Sequence[Layer], direct: Sequence[Layer], graph: Graph) -> list[tuple[int, int]]:
    """Runs of layers [begin, end) in order: from the first that writes into another tensor's bytes or reads a part of
    them to the last that does, so that from there on nothing lies in them but the tensor itself."""
    place = places(direct, graph)
    roots = {layer.into for layer in direct}
    reach: dict[str, tuple[int, int]] = {}

    def touch(root: str, k: int) -> None:
        low, high = reach.get(root, (k, k))
        reach[root] = min(low, k), max(high, k)

    for k, (old, new) in enumerate(zip(copying, direct, strict=True)):
        if new is not old:
            touch(place[new.node.outputs[0]].root, k)
        for name in graph.runtime_inputs(new.node):
            root = place[name].root
            if root in roots and graph.tensors[name].bytes < graph.tensors[root].bytes:
                touch(root, k)
    merged: list[tuple[int, int]] = []
    for low, high in sorted(reach.values()):
        if merged and low < merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], high + 1)
        else:
            merged.append((low, high + 1))
    return merged


def _within(layers: Sequence[Layer], begin: int, end: int, graph: Graph, lives: Lives, streams: bool) -> Iterator[Unit]:
    """The units inside a block."""
    single = [alone(layers, first, graph, lives) for first in range(begin, end)]
    yield from single
    for first in range(begin, end) if streams else ():
        for last, members in growing_members(layers[:end], first, graph, lives):
            worst = max(unit.peak for unit in single[first - begin : last - begin])
            yield from streams_over(first, last, members, graph, lives, None, worst)


def _resolved(partition: Partition, inner: dict[Unit, Partition], total: float) -> Partition:
    """With the units of its blocks in the blocks' places, and the cost that the copies add."""
    found: list[Unit] = []
    for unit in partition.units:
        parts = inner[unit].units if unit in inner else ()
        found += [replace(u, begin=u.begin + unit.begin, end=u.end + unit.begin) for u in parts] or [unit]
    return replace(partition, units=tuple(found), cost=partition.cost + total)


def _layers(
    partition: Partition, inner: dict[Unit, Partition], copying: Sequence[Layer], direct: Sequence[Layer]
) -> tuple[Layer, ...]:
    chosen = ((direct if unit in inner else copying)[unit.begin : unit.end] for unit in partition.units)
    return tuple(layer for part in chosen for layer in part)
