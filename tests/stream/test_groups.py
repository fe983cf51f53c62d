"""Bottlenecks by groups of channels against plain execution: every rounding rule, weight zero points, any group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness import RNG, activation, bias, weights
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_networks import SAME, VALID, Growing, add_step, fresh
from test_strips import check_c

from mcuc import passes
from mcuc.ir import Graph, Node, Requant, Tensor, check
from mcuc.plan import plan
from mcuc.plan.accesses import accesses
from mcuc.plan.lifetimes import lifetimes
from mcuc.schedule import Layer, Schedule, Segment, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.groups import bottleneck
from mcuc.schedule.stream import Member, make_stream, members_of, segment_members, stream_segment

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
RULES = ("tflite_double", "tflite_single", "f32_rne")
FUSED = {"dilationHFactor": 1, "dilationWFactor": 1}


def pointwise(g: Growing, x: Tensor, outs: int) -> None:
    w = weights(g.rng, (outs, 1, 1, x.shape[3]), per_channel=bool(g.pick(0, 1)))
    add_step(g, "CONV_2D", (x, w, bias(g.rng, x, w, outs)), fresh(g, (*x.shape[:3], outs)), padding=SAME, strideH=1,
             strideW=1, fusedActivationFunction=g.pick(0, 3), **FUSED)


def window(g: Growing, x: Tensor) -> None:
    """A depthwise convolution, now and then with a kernel larger than the image."""
    _, h, w, c = x.shape
    k, stride = g.pick(1, 7), g.choose([1, 1, 2])
    padding = VALID if k <= min(h, w) and not g.pick(0, 2) else SAME
    size = tuple(-(-n // stride) if padding == SAME else (n - k) // stride + 1 for n in (h, w))
    kernel = weights(g.rng, (1, k, k, c), axis=3, per_channel=bool(g.pick(0, 1)))
    add_step(g, "DEPTHWISE_CONV_2D", (x, kernel, bias(g.rng, x, kernel, c)), fresh(g, (1, *size, c)), padding=padding,
             strideH=stride, strideW=stride, depthMultiplier=1, fusedActivationFunction=g.pick(0, 3), **FUSED)


def other_rule(node: Node, graph: Graph, rule: str, zero_points: str, rng: np.random.Generator) -> Node:
    """The convolution with constants of a rounding rule and weight zero points ("none", "one", "each")."""
    if node.op not in ("conv_2d", "depthwise_conv_2d"):
        return node
    channels = graph.tensors[node.outputs[0]].shape[3]
    old: Requant = node.attrs.requant
    if rule == "f32_rne":
        factors = [m * 2.0 ** (s - 31) for m, s in zip(old.multiplier, old.shift, strict=True)]
        requant = Requant("f32_rne", scale=tuple(float(np.float32(f)) for f in factors))
    else:
        requant = replace(old, rule=rule)  # type: ignore[arg-type]
    count = {"none": 0, "one": 1, "each": channels}[zero_points]
    zp = tuple(int(z) for z in rng.integers(-40, 40, count)) or (0,)
    return replace(node, attrs=replace(node.attrs, requant=requant, weight_zero_point=zp))


@st.composite
def bottlenecks(draw: Callable[..., Any]) -> Graph:
    """Expand, depthwise, project; perhaps the sum with the input, and an element-wise layer before and behind."""
    g = Growing(draw, RNG(draw(st.integers(0, 2**32 - 1))))
    x = fresh(g, (1, g.pick(1, 7), g.pick(1, 7), g.pick(1, 9)))
    g.values.append(x)
    g.tensors[x.name] = x
    if g.pick(0, 1):
        add_step(g, "LOGISTIC", (x,), activation("a", x.shape, 1 / 256, -128))
    at = g.values[-1]
    pointwise(g, at, g.pick(2, 21))
    window(g, g.values[-1])
    out = at.shape[3] if g.pick(0, 1) else g.pick(1, 9)
    pointwise(g, g.values[-1], out)
    if g.values[-1].shape == at.shape:
        add_step(g, "ADD", (at, g.values[-1]), fresh(g, at.shape), fusedActivationFunction=0)
    if g.pick(0, 1):
        add_step(g, "RELU", (g.values[-1],), fresh(g, g.values[-1].shape))
    graph = Graph("net", "tflite", dict(g.tensors), tuple(g.nodes), (x.name,), (g.values[-1].name,))
    rule, zero_points = g.choose(RULES), g.choose(["none", "one", "each"])
    return check(replace(graph, nodes=tuple(other_rule(n, graph, rule, zero_points, g.rng) for n in graph.nodes)))


def found_in(graph: Graph) -> tuple[int, tuple[Layer, ...], tuple[Member, ...]]:
    """Where the bottleneck begins in the layers, all layers, its members."""
    layers = layer_by_layer(graph, None, Tiling()).layers
    at = next(k for k, layer in enumerate(layers) if layer.node.op == "depthwise_conv_2d") - 1
    whole = frozenset((layers[at + 2].node.outputs[0],))
    members = members_of(layers[at : at + 3], graph, whole)
    assert members is not None
    return at, layers, members


def grouped(graph: Graph, group: int) -> Schedule:
    at, layers, members = found_in(graph)
    assert bottleneck(members, group) is not None
    segment = stream_segment(members, make_stream(members, graph, group=group))
    return Schedule(Segment("layers", (*layers[:at], segment, *layers[at + 3 :])))


@settings(CHECKED, max_examples=40, phases=[Phase.generate])
@given(bottlenecks(), st.data())
def test_the_c_of_bottlenecks_by_groups_equals_the_reference(graph: Graph, data: st.DataObject) -> None:
    lowered = passes.optimize(graph)
    channels = found_in(lowered)[2][0].layer.calls[0][0].channels
    if channels < 2:  # dead channels are gone
        return
    check_c(graph, lowered, grouped(lowered, data.draw(st.integers(1, min(9, channels - 1)))))
