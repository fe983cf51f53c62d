"""Networks with planted dead channels: biases so large that a channel saturates, and weights that are all zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import random_networks as steps
from harness import RNG, activation, bias, tflite_graph, weights
from hypothesis import strategies as st

from mcuc.ir import Array, Graph, Node, Requant, Tensor, check
from mcuc.passes import PASSES, remove_dead_channels

SAME, VALID = 0, 1
NONE, RELU = 0, 1
HUGE = 1 << 28  # a bias that drives every activation to the end of its range
LAYERS = ("conv_2d", "depthwise_conv_2d", "fully_connected")
Step = tuple[str, Sequence[Tensor], Tensor, Mapping[str, Any]]


def network(inputs: Sequence[Tensor], steps: Sequence[Step], outputs: Sequence[Tensor]) -> Graph:
    """Steps are (TFLite operator, its inputs, its output, its options); constants get names of their own."""
    tensors = {t.name: t for t in inputs}
    nodes: list[Node] = []
    for number, (kind, reads, out, fields) in enumerate(steps):
        named = [t if t.data is None else replace(t, name=f"{out.name}/{i}") for i, t in enumerate(reads)]
        made = tflite_graph(kind, named, out, **fields)
        tensors.update(made.tensors)
        nodes.append(replace(made.nodes[0], name=f"{number}:{kind}"))
    used = {n for node in nodes for n in (*node.inputs, *node.outputs)}
    return check(Graph("dead", "tflite", {k: v for k, v in tensors.items() if k in used}, tuple(nodes),
                       tuple(t.name for t in inputs), tuple(t.name for t in outputs)))


@dataclass(frozen=True)
class Options:
    """Of a layer. dead: channel -> +1 (stuck at its highest value) or -1 (at its lowest)."""

    k: int = 1
    stride: int = 1
    padding: int = SAME
    activation: int = RELU
    zero_point: int = -20
    dead: tuple[tuple[int, int], ...] = ()


def dead(*channels: int, at: int = -1) -> tuple[tuple[int, int], ...]:
    return tuple((c, at) for c in channels)


def _size(x: Tensor, o: Options) -> tuple[int, int]:
    h, w = (-(-n // o.stride) if o.padding == SAME else (n - o.k) // o.stride + 1 for n in x.shape[1:3])
    return h, w


def _biases(rng: np.random.Generator, x: Tensor, w: Tensor, o: Options, outs: int) -> Tensor:
    made = bias(rng, x, w, outs, spread=100)
    assert made.data is not None
    data = made.data.copy()
    for channel, sign in o.dead:
        data[channel] = sign * HUGE
    return replace(made, data=data)


def conv(rng: np.random.Generator, x: Tensor, name: str, outs: int, o: Options = Options()) -> Step:
    """A convolution of x [1, h, w, c] to `outs` channels."""
    w = weights(rng, (outs, o.k, o.k, x.shape[3]))
    y = activation(name, (1, *_size(x, o), outs), 0.05, o.zero_point)
    fields = {"strideH": o.stride, "strideW": o.stride, "padding": o.padding, "dilationHFactor": 1,
              "dilationWFactor": 1, "fusedActivationFunction": o.activation}
    return "CONV_2D", (x, w, _biases(rng, x, w, o, outs)), y, fields


def depthwise(rng: np.random.Generator, x: Tensor, name: str, multiplier: int = 1, o: Options = Options()) -> Step:
    outs = x.shape[3] * multiplier
    w = weights(rng, (1, o.k, o.k, outs), axis=3)
    y = activation(name, (1, *_size(x, o), outs), 0.05, o.zero_point)
    fields = {"strideH": o.stride, "strideW": o.stride, "padding": o.padding, "dilationHFactor": 1,
              "dilationWFactor": 1, "depthMultiplier": multiplier, "fusedActivationFunction": o.activation}
    return "DEPTHWISE_CONV_2D", (x, w, _biases(rng, x, w, o, outs)), y, fields


def dense(rng: np.random.Generator, x: Tensor, name: str, outs: int, o: Options = Options()) -> Step:
    w = weights(rng, (outs, x.shape[-1]), per_channel=False)
    fields = {"fusedActivationFunction": o.activation}
    return "FULLY_CONNECTED", (x, w, _biases(rng, x, w, o, outs)), activation(name, (1, outs), 0.05, 3), fields


def with_constant(graph: Graph, name: str, data: Array) -> Graph:
    """The graph with other data in a constant."""
    return replace(graph, tensors={**graph.tensors, name: replace(graph.tensors[name], data=data)})


def plant(graph: Graph, seed: int) -> Graph:
    """Any graph with dead channels of many kinds in its layers with weights.

    Some outputs get huge biases, some zero weights; some inputs are read with zero weights; all layers may round by
    another rule than TFLite's, and some get weight zero points.
    """
    rng = RNG(seed)
    rule = ("tflite_double", "tflite_single", "f32_rne")[rng.integers(3)]
    for node in graph.nodes:
        if node.op not in LAYERS:
            continue
        w, b = (graph.const(n).copy() for n in node.inputs[1:3])
        chosen = rng.random(len(b)) < 0.4
        b[chosen] = rng.choice([-HUGE, HUGE], int(chosen.sum()))
        silent = rng.random(len(b)) < 0.15
        axis = 3 if node.op == "depthwise_conv_2d" else 0
        w[(slice(None),) * axis + (silent,)] = 0
        if node.op != "depthwise_conv_2d" and rng.random() < 0.5:
            w[..., rng.random(w.shape[-1]) < 0.3] = 0
        graph = with_constant(with_constant(graph, node.inputs[1], w), node.inputs[2], b)
        points = tuple(int(z) for z in rng.integers(-20, 20, rng.choice([1, len(b)]))) if rng.random() < 0.3 else (0,)
        attrs = replace(node.attrs, requant=_by_rule(node.attrs.requant, rule), weight_zero_point=points)
        graph = replace(graph, nodes=tuple(replace(n, attrs=attrs) if n is node else n for n in graph.nodes))
    return check(graph)


def _by_rule(given: Requant, rule: Any) -> Requant:
    if rule == "f32_rne":
        pairs = zip(given.multiplier, given.shift, strict=True)
        return Requant("f32_rne", scale=tuple(float(np.float32(m * 2.0 ** (s - 31))) for m, s in pairs))
    return replace(given, rule=rule)


BETWEEN = (steps.pool, steps.pad, steps.element_wise, steps.binary, steps.concat, steps.cut)


@st.composite
def layered(draw: Callable[..., Any]) -> Graph:
    """Random networks like random_networks.networks, but with a convolution or depthwise convolution every other step:
    channels are made and read."""
    g = steps.Growing(draw, RNG(draw(st.integers(0, 2**32 - 1))))
    x = steps.fresh(g, g.choose([(1, 5, 6, 3), (1, 4, 4, 4)]))
    g.values.append(x)
    g.tensors[x.name] = x
    for n in range(g.pick(2, 9)):
        source = g.choose([t for t in g.values[-2:] if t.elements <= steps.MOST] or [x])
        g.choose(BETWEEN if n % 2 else (steps.conv, steps.conv, steps.depthwise))(g, source)
    last = [t for t in g.values if t.elements <= steps.MOST][-1]
    steps.conv(g, last)
    if g.pick(0, 1) and len(g.values[-1].shape) == 4:
        rows = replace(steps.fresh(g, (1, g.values[-1].elements), like=g.values[-1]))
        shape = steps.constant("", np.array(rows.shape, np.int32))
        steps.add_step(g, "RESHAPE", (g.values[-1], shape), rows)
        steps.dense(g, rows)
    made = [n.outputs[0] for n in g.nodes]
    read = {i for n in g.nodes for i in n.inputs}
    outputs = {made[-1], *(g.choose([[], [n for n in made if n not in read], made[-3:-2]]))}
    used = {i for n in g.nodes for i in (*n.inputs, *n.outputs)} | {x.name}
    return check(Graph("net", "tflite", {k: v for k, v in g.tensors.items() if k in used}, tuple(g.nodes), (x.name,),
                       tuple(n for n in made if n in outputs)))


def unpruned(graph: Graph) -> Graph:
    """Every pass but the one for dead channels."""
    for step in PASSES:
        if step is not remove_dead_channels:
            graph = check(step(graph))
    return graph


def channels(graph: Graph) -> dict[str, int]:
    """Extent of the last axis of every run-time tensor."""
    return {n: t.shape[-1] for n, t in graph.tensors.items() if t.data is None and t.shape}
