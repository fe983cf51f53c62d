"""The layers of a stream as its replay sees them: what they read row by row, inside the stream and outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mcuc.ir import Graph
from mcuc.schedule import Layer
from mcuc.schedule.access import Reads, countable, reads, ringable, streamable

MOST_MEMBERS = 31  # bits of a pass, and one for the pushed row


@dataclass(frozen=True, eq=False)
class Member:
    """A layer of a stream as the replay sees it. height, width: its grid of work, which for a reduction is the
    input's. inside: what it reads of tensors in the stream. sink: its output is needed whole."""

    layer: Layer
    output: str
    height: int
    width: int
    inside: Mapping[str, Reads]
    outside: Mapping[str, Reads]
    sink: bool

    @property
    def together(self) -> int:
        """Columns that its kernels compute at once; in a stream it waits for so many, or for the row's end."""
        return max((kernel.pixels for _, kernel in self.layer.calls), default=1)


def members_of(
    layers: Sequence[Layer], graph: Graph, whole: frozenset[str], pushed: str | None = None
) -> tuple[Member, ...] | None:
    """The layers as members of one stream; None where one of them cannot run row by row.

    whole: outputs needed as a whole, by the model or by later layers. pushed: an input that arrives by rows.
    """
    if len(layers) > MOST_MEMBERS:
        return None
    found: list[Member] = []
    made: set[str] = set() if pushed is None else {pushed}
    averaged: set[str] = set()
    for layer in layers:
        member = member_of(layer, graph, made, whole)
        if member is None or averaged & member.inside.keys():
            return None
        found.append(member)
        made.add(member.output)
        if member.layer.reduction is not None:  # there only when the whole image has passed by
            averaged.add(member.output)
    return tuple(found)


def member_of(layer: Layer, graph: Graph, made: set[str], whole: frozenset[str]) -> Member | None:
    """The layer as a member; made: what the members before it make. None where it cannot run row by row."""
    output = layer.node.outputs[0]
    cut, all_reads = _cut(layer, layer.reduction is not None and output in whole, graph)
    if cut is None:
        return None
    call = cut.calls[0][0]
    inside = {n: r for n, r in all_reads.items() if n in made}
    if any(not ringable(cut, n, graph) for n in inside):
        return None
    outside = {n: r for n, r in all_reads.items() if n not in made}
    return Member(cut, output, call.height, call.width, inside, outside, output in whole)


@lru_cache(maxsize=4096)
def _cut(layer: Layer, reduced: bool, graph: Graph) -> tuple[Layer | None, Mapping[str, Reads]]:
    """The layer by rows and what it reads. Both are compared by identity, so this remembers them for a search."""
    if not countable(layer, graph):
        return None, {}
    if reduced:
        assert layer.reduction is not None
        cut: Layer | None = replace(layer, calls=(layer.reduction.accumulate,))
    else:
        cut = streamable(replace(layer, reduction=None), graph)
    return cut, {} if cut is None else reads(cut, graph)
