"""Random segmentations of a graph into streams and layers that run alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Graph
from mcuc.schedule import Layer, Schedule, Segment, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.stream import make_stream, members_of, stream_segment

BLOCKS = (0, 0, 1, 2, 3, 8)


def needed_whole(layers: Sequence[Layer], begin: int, end: int, graph: Graph) -> frozenset[str]:
    """Outputs of layers [begin, end) that the model or later layers need."""
    made = {layer.node.outputs[0] for layer in layers[begin:end]}
    later = {n for layer in layers[end:] for n in layer.node.inputs}
    return frozenset(made & (later | set(graph.outputs)))


def random_schedule(graph: Graph, seed: int, pushed: str | None = None) -> Schedule:
    """Layers cut into runs at random; a run that can be a stream becomes one, of a random block."""
    rng = np.random.default_rng(seed)
    layers = layer_by_layer(graph, None, Tiling()).layers
    units: list[Layer | Segment] = []
    at = 0
    while at < len(layers):
        length = int(rng.integers(1, 9))
        for end in range(min(len(layers), at + length), at, -1):
            members = members_of(layers[at:end], graph, needed_whole(layers, at, end, graph))
            if members is not None:
                stream = make_stream(members, graph, int(rng.choice(BLOCKS)))
                units.append(stream_segment(members, stream))
                at = end
                break
        else:
            units.append(layers[at])
            at += 1
    return Schedule(Segment("layers", tuple(units)))
