"""One small network, and its schedules of every kind, for tests that plant faults or want to see each kind at work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from harness import RNG, activation, bias, constant, tflite_graph, weights

from mcuc import passes
from mcuc.ir import Graph, Node, Tensor, check
from mcuc.passes.fuse_add import split_add
from mcuc.schedule import Layer, Schedule, Segment, Tiling
from mcuc.schedule.explore import layers_of
from mcuc.schedule.stream import make_stream, members_of, stream_segment
from mcuc.schedule.strips import strips_of

CONV = {"strideH": 1, "strideW": 1, "padding": 0, "dilationHFactor": 1, "dilationWFactor": 1}
HALF = {**CONV, "strideH": 2, "strideW": 2}
SIZE = (1, 9, 12)


def network() -> Graph:
    """Image of 9 rows and 12 columns: convolution, bottleneck with its sum, convolution that halves, means, dense."""
    rng = RNG(21)
    known: dict[str, Tensor] = {}
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}

    def step(kind: str, reads: list[Tensor], out: Tensor, **fields: object) -> Tensor:
        named = [t if t.data is None else replace(t, name=f"{out.name}/{i}") for i, t in enumerate(reads)]
        made = tflite_graph(kind, named, out, **fields)
        tensors.update(made.tensors)
        nodes.append(replace(made.nodes[0], name=f"{out.name}:{kind}"))
        known[out.name] = out
        return out

    def conv(x: Tensor, name: str, outs: int, k: int, size: tuple[int, ...], **fields: int) -> Tensor:
        w = weights(rng, (outs, k, k, x.shape[3]))
        return step("CONV_2D", [x, w, bias(rng, x, w, outs)], activation(name, (*size, outs), 0.04, 3), **fields)

    image = activation("image", (*SIZE, 3), 0.03, 5)
    first = conv(image, "first", 4, 3, SIZE, **CONV)
    wide = conv(first, "wide", 7, 1, SIZE, **CONV)
    w = weights(rng, (1, 3, 3, 7), axis=3)
    deep = step("DEPTHWISE_CONV_2D", [wide, w, bias(rng, wide, w, 7)], activation("deep", (*SIZE, 7), 0.05, -4), **CONV,
                depthMultiplier=1)
    slim = conv(deep, "slim", 4, 1, SIZE, **CONV)
    total = step("ADD", [first, slim], activation("total", (*SIZE, 4), 0.06, 2))
    small = conv(total, "small", 5, 3, (1, 5, 6), **HALF)
    axes = constant("", np.array([1, 2], np.int32))
    means = step("MEAN", [small, axes], activation("means", (1, 1, 1, 5), 0.02, 0), keepDims=True)
    flat = step("RESHAPE", [means, constant("", np.array([1, 5], np.int32))], replace(means, name="flat", shape=(1, 5)))
    w = weights(rng, (3, 5), per_channel=False)
    step("FULLY_CONNECTED", [flat, w, bias(rng, flat, w, 3)], activation("scores", (1, 3), 0.1, 0))
    return split_add(passes.optimize(check(Graph("example", "tflite", tensors, tuple(nodes), ("image",), ("scores",)))))


def schedules(graph: Graph) -> dict[str, Schedule]:
    """The first seven layers as one stream of every kind, or alone."""
    layers = layers_of(graph, None, Tiling())
    whole = layers[7].node.inputs[0]

    def streamed(**kind: object) -> Schedule:
        pushed = "image" if kind.pop("pushed", False) else None
        members = members_of(layers[:7], graph, frozenset([whole]), pushed)
        assert members is not None
        count = int(str(kind.pop("strips", 0)))
        strips = strips_of(members, count) if count else ()
        assert strips is not None
        stream = make_stream(members, graph, int(str(kind.pop("block", 0))), pushed, strips=strips)
        return _then([stream_segment(members, stream), *layers[7:]])

    members = members_of(layers[1:4], graph, frozenset([layers[3].node.outputs[0]]))
    assert members is not None
    groups = stream_segment(members, make_stream(members, graph, group=3))
    return {
        "layers": _then(list(layers)),
        "rows": streamed(),
        "columns": streamed(block=2),
        "strips": streamed(strips=2),
        "strips of columns": streamed(block=2, strips=3),
        "groups": _then([layers[0], groups, *layers[4:]]),
        "rows in": streamed(pushed=True),
        "rows in of columns": streamed(pushed=True, block=3),
    }


def _then(units: list[Layer | Segment]) -> Schedule:
    return Schedule(Segment("layers", tuple(units)))
