"""Runs of layers that grow layer by layer: the same members as of each run by itself."""

from __future__ import annotations

import small_models
from mcuc import passes
from mcuc.ir import Graph
from mcuc.schedule import Tiling
from mcuc.schedule.explore import layers_of
from mcuc.schedule.lives import lives_of, needed_whole
from mcuc.schedule.members import Member, members_of
from mcuc.schedule.runs import growing_members


def told(member: Member) -> tuple[object, ...]:
    reads = {n: (r.first, r.last, r.columns) for part in (member.inside, member.outside) for n, r in part.items()}
    return member.output, member.height, member.width, member.sink, sorted(member.inside), reads, member.together


def checked(graph: Graph) -> int:
    """How many runs were compared."""
    layers = layers_of(graph, None, Tiling())
    lives, compared = lives_of(layers, graph), 0
    for begin in range(len(layers)):
        ends = {}
        for end in range(begin + 2, len(layers) + 1):
            found = members_of(layers[begin:end], graph, needed_whole(layers, begin, end, graph, lives))
            if found is None:
                break
            ends[end] = [told(m) for m in found]
        assert {end: [told(m) for m in found] for end, found in growing_members(layers, begin, graph, lives)} == ends
        compared += len(ends)
    return compared


def test_a_run_that_grows_has_the_members_of_the_run() -> None:
    graphs = (small_models.chain_graph(), small_models.tiny_graph(), small_models.tokens_graph(6, 8, 8, 3))
    assert all(checked(passes.optimize(graph)) > 2 for graph in graphs)
