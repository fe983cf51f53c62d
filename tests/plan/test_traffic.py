"""Bytes read and written of every buffer: counted by hand on single layers, and never less than once each."""

from __future__ import annotations

import numpy as np
from harness import RNG, activation, bias, constant, tflite_graph, weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import networks

import small_models
from mcuc import passes
from mcuc.ir import Graph
from mcuc.plan import plan
from mcuc.plan.lifetimes import lifetimes
from mcuc.plan.regions import Region
from mcuc.plan.traffic import traffic
from mcuc.schedule import Tiling
from mcuc.schedule.explore import explore, layer_by_layer

SAME = 0


def of_layers(graph: Graph) -> dict[str, int]:
    """Traffic of every buffer, every layer alone."""
    graph = passes.optimize(graph)
    schedule = layer_by_layer(graph, None, Tiling())
    return dict(traffic(graph, schedule, lifetimes(graph, schedule)))


def test_a_dense_layer_reads_its_input_once_for_two_outputs() -> None:
    x, y = activation("x", (1, 20), 0.05, 3), activation("y", (1, 7), 0.1, -1)
    w = weights(RNG(0), (7, 20), per_channel=False)
    found = of_layers(tflite_graph("FULLY_CONNECTED", [x, w, bias(RNG(1), x, w, 7)], y))
    assert found == {"x": 20 + 4 * 20, "y": 7 + 7}  # written by the caller, 4 passes for 7 outputs; written and read


def test_a_convolution_gathers_patches_which_are_what_is_read_again() -> None:
    x, y = activation("x", (1, 6, 6, 3), 0.05, 3), activation("y", (1, 6, 6, 8), 0.1, -1)
    w = weights(RNG(0), (8, 3, 3, 3))
    graph = tflite_graph("CONV_2D", [x, w, bias(RNG(1), x, w, 8)], y, padding=SAME, strideH=1, strideW=1,
                         dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=0)
    found = of_layers(graph)
    pixels, taps = 6 * 6, 3 * 3 * 3
    scratch = next(name for name in found if name.endswith("/scratch"))
    assert (found["x"], found["y"]) == (6 * 6 * 3 + pixels * taps, 2 * pixels * 8)
    assert found[scratch] == pixels * (1 + 4) * (taps + 1)  # written once, read for 4 pairs of channels; 28 bytes


def test_a_sum_reads_both_inputs_once() -> None:
    a, b = activation("a", (1, 4, 4, 2), 0.05, 3), activation("b", (1, 4, 4, 2), 0.04, 1)
    found = of_layers(tflite_graph("ADD", [a, b], activation("y", (1, 4, 4, 2), 0.1, 0)))
    assert found == dict.fromkeys(("a", "b", "y"), 64)


def test_a_slice_reads_what_it_copies() -> None:
    x, y = activation("x", (1, 8, 4), 0.05, 3), activation("y", (1, 2, 4), 0.05, 3)
    ends = [constant("begin", np.array([0, 3, 0], np.int32)), constant("size", np.array([1, 2, 4], np.int32))]
    found = of_layers(tflite_graph("SLICE", [x, *ends], y))
    assert (found["x"], found["y"]) == (32 + 8, 8 + 8)


@settings(deadline=None, derandomize=True, database=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(networks(), st.integers(0, 1 << 20))
def test_every_buffer_of_any_schedule_is_counted(graph: Graph, seed: int) -> None:
    candidates = explore(passes.optimize(graph), None, "sram").candidates
    graph, schedule = candidates[seed % len(candidates)].graph, candidates[seed % len(candidates)].schedule
    found = lifetimes(graph, schedule)
    counted = traffic(graph, schedule, found)
    assert set(counted) == {b.id for b in found.buffers}
    assert all(n >= 0 for n in counted.values())
    for name in graph.inputs:
        assert counted[found.storage[name]] >= graph.tensors[name].bytes


def test_streams_and_inputs_by_rows_are_counted_and_share_a_region() -> None:
    graph = passes.optimize(small_models.tiny_graph(side=32))
    for pushed in (None, graph.inputs[0]):
        candidate = explore(graph, None, "sram", pushed).candidates[0]
        found = lifetimes(candidate.graph, candidate.schedule)
        counted = traffic(candidate.graph, candidate.schedule, found)
        assert found.lines and all(counted[b] > 0 for b in found.lines.values())
        regions = [Region("fast", 1 << 12, 1.0, dma=False), Region("slow", 1 << 16, 2.0)]
        placed = plan(candidate.graph, candidate.schedule, regions=regions)
        assert [a.name for a in placed.arenas] == ["fast", "slow"] and placed.several
        ends = {found.storage[n] for n in (*graph.inputs, *graph.outputs) if n in found.storage}
        rows = {b.id for b in found.buffers if b.id.endswith("/row")}
        assert bool(rows) == (pushed is not None)
        assert {placed.arenas[placed.region[b]].name for b in ends | rows} == {"slow"}
        inside = {b for b in (*found.lines.values(), *found.state.values()) if b not in rows}
        assert len({placed.region[b] for b in inside}) == 1
