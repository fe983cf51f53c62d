"""Random segmentations of a graph into streams and layers that run alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Graph
from mcuc.schedule import Layer, Schedule, Segment, Stream, Tiling
from mcuc.schedule.explore import layers_of
from mcuc.schedule.groups import bottleneck
from mcuc.schedule.members import Member
from mcuc.schedule.select import retile
from mcuc.schedule.stream import make_stream, members_of, stream_segment
from mcuc.schedule.strips import strips_of
from mcuc.schedule.views import without_copies
from mcuc.targets import load_board

CHIPS = (None, *(load_board(name).chip for name in ("mps2-an386", "mps2-an500", "nucleo-g0b1re")))
BLOCKS = (0, 0, 1, 2, 3, 8)
TILINGS = (Tiling(), Tiling(), Tiling(columns=1), Tiling(columns=3), Tiling(channels=1), Tiling(2, 5))


def random_schedule(graph: Graph, seed: int) -> Schedule:
    """Layers cut into runs at random; a run that can be a stream becomes one: of a random block, now and then in strips
    of columns or groups of channels. Kernels are a core's or the portable ones. Copies of concatenations and slices
    stay or go, an only input may arrive by rows.
    """
    rng = np.random.default_rng(seed)
    pushed = graph.inputs[0] if len(graph.inputs) == 1 and rng.integers(4) == 0 else None
    chip = CHIPS[rng.integers(len(CHIPS))]
    layers = layers_of(graph, chip, Tiling(), small=bool(rng.integers(4) == 0))
    if rng.integers(2):
        layers = without_copies(layers, graph, pushed)
    units: list[Layer | Segment] = []
    if pushed is not None:
        first = _taking_rows(layers, graph, pushed, rng)
        if first is not None:
            units.append(first)
    at = sum(len(u.members) for u in units if isinstance(u, Segment))
    while at < len(layers):
        found = _grouped(layers, at, graph, rng)
        for end in range(min(len(layers), at + int(rng.integers(1, 9))), at, -1):
            if found is not None:
                break
            members = members_of(layers[at:end], graph, needed_whole(layers, at, end, graph))
            if members is not None:
                found = stream_segment(members, _random_stream(members, graph, rng))
        units.append(retile(layers[at], TILINGS[rng.integers(len(TILINGS))]) if found is None else found)
        at += 1 if found is None else len(found.members)
    return Schedule(Segment("layers", tuple(units)))


def needed_whole(layers: Sequence[Layer], begin: int, end: int, graph: Graph) -> frozenset[str]:
    """Outputs of layers [begin, end) that the model or later layers need, or that lie in others' bytes."""
    made = {layer.node.outputs[0] for layer in layers[begin:end]}
    later = {n for layer in layers[end:] for n in layer.node.inputs}
    shared = {n for layer in layers if layer.into for n in (layer.into, layer.node.outputs[0])}
    return frozenset(made & (later | shared | set(graph.outputs)))


def _random_stream(members: Sequence[Member], graph: Graph, rng: np.random.Generator) -> Stream:
    block = int(rng.choice(BLOCKS))
    strips = strips_of(members, int(rng.integers(2, 4))) if rng.integers(4) == 0 else None
    return make_stream(members, graph, block, strips=strips or ())


def _grouped(layers: Sequence[Layer], at: int, graph: Graph, rng: np.random.Generator) -> Segment | None:
    """The next layers by groups of channels, where they are a bottleneck, now and then."""
    if rng.integers(2) or at + 3 > len(layers):
        return None
    members = members_of(layers[at : at + 3], graph, needed_whole(layers, at, at + 3, graph))
    group = int(rng.integers(1, 6))
    if members is None or bottleneck(members, group) is None:
        return None
    return stream_segment(members, make_stream(members, graph, group=group))


def _taking_rows(layers: Sequence[Layer], graph: Graph, pushed: str, rng: np.random.Generator) -> Segment | None:
    """A stream of the first layers that takes the input in by rows; None where there is none."""
    readers = [k for k, layer in enumerate(layers) if pushed in layer.node.inputs]
    if not readers:
        return None
    for end in rng.permutation(range(readers[-1] + 1, len(layers) + 1)):
        members = members_of(layers[:end], graph, needed_whole(layers, 0, int(end), graph), pushed)
        if members is not None:
            return stream_segment(members, make_stream(members, graph, int(rng.choice(BLOCKS)), pushed))
    return None
