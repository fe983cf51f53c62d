"""Bottlenecks by groups of channels against plain execution: every rounding rule, weight zero points, any group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import RNG, activation, assert_equal, bias, run_reference, tflite_graph, weights
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from random_networks import SAME, VALID, Growing, add_step, fresh
from test_strips import check_c

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.importers import load
from mcuc.ir import Graph, Node, Requant, Tensor, check
from mcuc.plan import plan
from mcuc.plan.accesses import accesses
from mcuc.plan.lifetimes import lifetimes
from mcuc.schedule import Layer, Schedule, Segment, Tiling
from mcuc.schedule.access import grid
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.groups import bottleneck
from mcuc.schedule.partition import front, schedule_of, units
from mcuc.schedule.stream import Member, make_stream, members_of, stream_segment
from mcuc.verify.samples import random_samples

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
LARGE = pytest.param("mbv2_100_224_u8", 32, marks=pytest.mark.slow)
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


@settings(CHECKED, max_examples=25, phases=[Phase.generate])
@given(bottlenecks(), st.data())
def test_the_c_of_bottlenecks_by_groups_equals_the_reference(graph: Graph, data: st.DataObject) -> None:
    lowered = passes.optimize(graph)
    channels = found_in(lowered)[2][0].layer.calls[0][0].channels
    assume(channels > 1)
    check_c(graph, lowered, grouped(lowered, data.draw(st.integers(1, min(9, channels - 1)))), data.draw(st.booleans()))


@settings(CHECKED, max_examples=60, phases=[Phase.generate])
@given(bottlenecks(), st.integers(1, 20))
def test_sums_and_lines_are_alive_in_every_group_that_uses_them(graph: Graph, group: int) -> None:
    """Against every row of every pass of every group: all groups but the last are the stream's first tick."""
    lowered = passes.optimize(graph)
    _, _, members = found_in(lowered)
    split = bottleneck(members, group)
    assume(split is not None)
    assert split is not None
    schedule = grouped(lowered, group)
    ranges = lifetimes(lowered, schedule).ranges
    unit, (lower, upper) = next(p for p in zip(schedule.segments, ranges, strict=True) if isinstance(p[0], Segment))
    assert isinstance(unit, Segment)
    assert unit.stream is not None and unit.kind == "groups" and unit.stream.recomputed == 0
    assert upper - lower == len(unit.stream.passes) + 1
    buffers = {b.id: b for b in lifetimes(lowered, schedule).buffers}
    sums = buffers[f"{members[2].layer.node.name}/sums"]
    assert sums.size == 4 * lowered.tensors[members[2].output].elements
    known = accesses(unit, lowered)
    first, outside = known.writes[members[2].output], known.reads[next(iter(members[0].outside))]
    rows = [0, 0, 0]
    for p, mask in enumerate(unit.stream.passes):
        tick = 1 + p
        for j in range(3):
            if not mask >> j & 1:
                continue
            y = rows[j]
            rows[j] += 1
            if j == 0:
                row = grid(lowered, next(iter(members[0].outside))).row_bytes
                assert all(t >= tick for s, e, t in outside if s < (y + 1) * row and y * row < e)
            if j == 2:
                row = grid(lowered, members[2].output).row_bytes
                assert all(t <= tick for s, e, t in first if s < (y + 1) * row and y * row < e)
                assert min(t for _, _, t in first) >= 1, "no output before the last group"
                used = [s for s in sums.spans if s.start < 4 * (y + 1) * row and 4 * y * row < s.end]
                assert sum(min(s.end, 4 * (y + 1) * row) - max(s.start, 4 * y * row) for s in used) == 4 * row
                assert all(s.lower <= lower and s.upper > lower + tick for s in used)
        for m in members[:2]:
            line = buffers[f"{m.output}/line"]
            assert line.lower == lower and (line.upper > lower + tick or not mask & 0b110)
    for m in members[:2]:
        assert unit.stream.lines[m.output].pixel_bytes == group


def summed(graph: Graph, scale: float) -> Graph:
    """The optimized bottleneck with its input added to its output, of such a scale against both."""
    x, t = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert x.quant is not None and t.quant is not None
    y = activation("y", t.shape, scale * (x.quant.scale[0] + t.quant.scale[0]), 7)
    joined = tflite_graph("ADD", [x, t], y)
    nodes = (*graph.nodes, replace(joined.nodes[0], name="sum"))
    return passes.optimize(check(replace(graph, tensors={**graph.tensors, "y": y}, nodes=nodes, outputs=("y",))))


@pytest.mark.parametrize("group", [1, 5, 8, 20])
def test_the_last_group_adds_the_residual(group: int) -> None:
    for h, w, cin in ((5, 6, 7), (1, 9, 4), (8, 1, 3)):
        graph = summed(plain(h, w, 21, 3, cin, cin), 0.61803)
        _, layers, members = found_in(graph)
        assert [layer.node.op for layer in layers][-1] == "conv_2d_add" and len(layers) == 3
        split = bottleneck(members, group)
        assert split is not None and split.residual == graph.inputs[0]
        schedule = grouped(graph, group)
        assert accesses(schedule.segments[0], graph).reads.keys() == {graph.inputs[0]}
        check_c(graph, graph, schedule)


def plain(h: int, w: int, expanded: int, k: int, cin: int = 8, cout: int = 8) -> Graph:
    """A bottleneck of given sizes."""
    g = Growing(lambda s: None, RNG(3))
    g.pick = lambda low, high: low  # type: ignore[method-assign]
    x = fresh(g, (1, h, w, cin))
    g.values.append(x)
    g.tensors[x.name] = x
    pointwise(g, x, expanded)
    kernel = weights(g.rng, (1, k, k, expanded), axis=3)
    wide = g.values[-1]
    add_step(g, "DEPTHWISE_CONV_2D", (wide, kernel, bias(g.rng, wide, kernel, expanded)), fresh(g, wide.shape),
             padding=SAME, strideH=1, strideW=1, depthMultiplier=1, fusedActivationFunction=0, **FUSED)
    pointwise(g, g.values[-1], cout)
    return passes.optimize(check(Graph("plain", "tflite", dict(g.tensors), tuple(g.nodes), (x.name,),
                                       (g.values[-1].name,))))


def test_the_search_takes_groups_where_a_large_kernel_would_keep_every_row() -> None:
    graph = plain(5, 5, 96, 7)
    layers = layer_by_layer(graph, None, Tiling()).layers
    found = units(layers, graph)
    best = front(found, len(layers))[-1]
    without = front([u for u in found if not u.group], len(layers))[-1]
    assert best.units[0].group and best.peak < without.peak and best.cost > without.cost
    schedule = schedule_of(best, layers, graph)
    assert plan(graph, schedule).arena < plan(graph, schedule_of(without, layers, graph)).arena
    check_c(graph, graph, schedule)


def test_groups_are_not_taken_where_a_stream_needs_less() -> None:
    """A large image with a small kernel: four bytes a sum are more than three rows of the expanded image."""
    graph = plain(20, 20, 24, 3)
    layers = layer_by_layer(graph, None, Tiling()).layers
    assert not any(u.group for u in units(layers, graph))


def test_what_is_no_bottleneck_is_refused() -> None:
    graph = plain(5, 5, 24, 3)
    _, layers, members = found_in(graph)
    assert bottleneck(members, 23) is not None
    assert bottleneck(members, 24) is None, "one group of all channels"
    assert bottleneck(members[:2], 8) is None
    whole = frozenset((layers[0].node.outputs[0], layers[2].node.outputs[0]))
    read_later = members_of(layers, graph, whole)
    assert read_later is not None and bottleneck(read_later, 8) is None, "the expanded image is needed whole"
    turned = members_of((layers[0], layers[1]), graph, frozenset((layers[1].node.outputs[0],)))
    assert turned is not None and bottleneck((*turned, members[2]), 8) is None, "the depthwise result is needed whole"


def every_bottleneck(graph: Graph, group: int) -> Schedule:
    """All bottlenecks of a network by groups, everything else alone."""
    layers = layer_by_layer(graph, None, Tiling()).layers
    parts: list[Layer | Segment] = []
    at = 0
    while at < len(layers):
        last = layers[at + 2].node.outputs[0] if at + 2 < len(layers) else ""
        others = {n for k, x in enumerate(layers) if not at <= k < at + 3 for n in x.node.inputs}
        members = members_of(layers[at : at + 3], graph, frozenset(others | {*graph.outputs, last}))
        if members is not None and bottleneck(members, group) is not None:
            parts.append(stream_segment(members, make_stream(members, graph, group=group)))
            at += 3
        else:
            parts.append(layers[at])
            at += 1
    return Schedule(Segment("layers", tuple(parts)))


@pytest.mark.shared
@pytest.mark.parametrize(("name", "group"), [("te_vww80", 16), ("te_vww80", 30), LARGE])
def test_published_networks_by_groups_equal_the_reference(
    shared_data: Path, tmp_path: Path, name: str, group: int
) -> None:
    graph = passes.optimize(load(shared_data / "models" / f"{name}.tflite", None))
    schedule = every_bottleneck(graph, group)
    assert sum(isinstance(u, Segment) for u in schedule.segments) >= 12
    emitted = emit(graph, schedule, plan(graph, schedule, fast=True), "net", "test", 16, 1024)
    model = host.build(emitted, graph, tmp_path)
    inputs = random_samples(graph, 1, 0)
    wanted = run_reference(graph, inputs)
    found = host.run(model, inputs).outputs
    assert_equal(wanted, [[out[0] for out in found]], name)
