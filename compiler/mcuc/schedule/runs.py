"""Runs of layers that can be a stream, from a first layer on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcuc.ir import Graph
from mcuc.schedule import Layer
from mcuc.schedule.lives import Lives, needed_whole
from mcuc.schedule.members import MOST_MEMBERS, Member, member_of


def growing_members(
    layers: Sequence[Layer], begin: int, graph: Graph, lives: Lives
) -> Iterator[tuple[int, tuple[Member, ...]]]:
    """(end, members_of layers [begin, end)) for rising ends, up to the first that is no stream. A layer is
    one by itself where all its tokens would go through before the first is done with (see channel_blocks.py)."""
    found: list[Member] = []
    made: set[str] = set()
    averaged: set[str] = set()
    for end in range(begin + 1, min(len(layers), begin + MOST_MEMBERS) + 1):
        layer = layers[end - 1]
        whole = needed_whole(layers, begin, end, graph, lives)
        new = member_of(layer, graph, made, whole)
        if new is None or averaged & new.inside.keys():
            return
        for k, m in enumerate(found):
            if m.sink != (m.output in whole):  # its last reader is in the stream now
                again = member_of(layers[begin + k], graph, made, whole)
                if again is None:
                    return
                found[k] = again
        found.append(new)
        made.add(new.output)
        averaged = {m.output for m in found if m.layer.reduction is not None}
        if end > begin + 1 or layer.by_channels:
            yield end, tuple(found)
