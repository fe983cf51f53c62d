"""Lifetimes, placement and emission together, on random networks.

Two nets under the planner: the plan run on memory whose bytes know what they are, on hundreds of networks, and the
generated C, with sanitizers, in arenas of the exact size, with the caller's buffers and inside the arena.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from harness import TILINGS, assert_equal, run_reference, samples
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_networks import networks, rolled
from together import check_together

sys.path.append(str(Path(__file__).resolve().parent.parent / "stream"))
from tagged import execute

from mcuc import passes
from mcuc.exporters import tflite
from mcuc.ir import Graph
from mcuc.plan import plan
from mcuc.schedule import Layer, Schedule, Segment, Tiling
from mcuc.schedule.explore import layers_of
from mcuc.schedule.select import retile
from mcuc.schedule.views import without_copies
from mcuc.verify import oracle

CUTS = (*TILINGS.values(), Tiling(columns=3), Tiling(channels=1))
TOGETHER = 12  # networks in one compilation
CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def with_staged_weights(layer: Layer) -> Layer:
    """The layer with its first table in scratch, where it has one call with tables."""
    if len(layer.calls) != 1 or not layer.calls[0][1].tables(layer.calls[0][0]):
        return layer
    ((call, kernel),) = layer.calls
    return replace(layer, staged=True, scratch=kernel.scratch(call) + kernel.tables(call)[0].bytes)


def lowered(graph: Graph, seed: int) -> tuple[Graph, Schedule]:
    """The optimized graph and a schedule in which every layer is cut in its own way; in every other seed's what can lie
    in another tensor does, in every third's weights are staged in scratch."""
    optimized = passes.optimize(graph)
    rng = np.random.default_rng(seed)
    layers = layers_of(optimized, None, Tiling())
    if seed % 2:
        layers = without_copies(layers, optimized)
    cut: tuple[Layer, ...] = tuple(retile(layer, CUTS[rng.integers(len(CUTS))]) for layer in layers)
    if seed % 3 == 0:
        cut = tuple(map(with_staged_weights, cut))
    return optimized, Schedule(Segment("layers", cut))


@settings(CHECKED, max_examples=180)
@given(networks(), st.integers(0, 1 << 16), st.booleans())
def test_every_layer_reads_what_was_written(graph: Graph, seed: int, fast: bool) -> None:
    """In the arena and with the caller's buffers, outputs are whole and the caller's inputs intact in the end."""
    optimized, schedule = lowered(graph, seed)
    placed = plan(optimized, schedule, fast=fast)
    assert placed.work <= placed.arena
    assert placed.lower_bound <= placed.arena and (placed.optimal or fast)
    assert max(placed.live, default=0) <= placed.arena
    for outside in (False, True):
        execute(optimized, schedule, placed, outside)


@settings(CHECKED, max_examples=6, phases=[Phase.generate])
@given(st.lists(networks(), min_size=TOGETHER, max_size=TOGETHER))
def test_the_c_of_random_networks_equals_the_reference(graphs: list[Graph]) -> None:
    """In both buffer modes; the host program fails by itself where a run changes the caller's input."""
    parts = [lowered(replace(graph, name=f"n{n}"), n) for n, graph in enumerate(graphs)]
    with TemporaryDirectory() as folder:
        check_together(graphs, [(graph, schedule, plan(graph, schedule)) for graph, schedule in parts], Path(folder))


def test_tflite_micro_computes_random_networks_as_the_reference_does() -> None:
    """Exported and run by it; benchmarks/random_graphs.py goes on with ten thousand, in C too."""
    for seed in range(200):
        graph = rolled(seed)
        inputs = samples(graph, 4)
        found = oracle.tflite_micro(tflite.export(graph), inputs)
        assert_equal(found, run_reference(graph, inputs), f"seed {seed} against TFLite Micro")
