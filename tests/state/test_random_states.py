"""Random networks with states: TFLite Micro, the reference and the C agree over a sequence of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from harness import assert_equal, run_reference, samples
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from random_states import stateful_networks
from together import check_together

from mcuc import passes
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.ir import Graph
from mcuc.plan import Plan, plan
from mcuc.schedule import Schedule
from mcuc.schedule.explore import explore
from mcuc.verify import oracle

TOGETHER, RUNS = 12, 6
CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@settings(CHECKED, max_examples=40, phases=[Phase.generate])
@given(stateful_networks())
def test_an_exported_network_keeps_its_states_in_tflite_micro(graph: Graph) -> None:
    try:
        blob = exporter.export(graph)
    except McucError as error:  # a concatenation that requantizes, which a file cannot say
        assert error.code == "not-exportable"
        assume(False)
    again = importer.parse(blob, "case.tflite", "case")
    assert len(again.states) <= len(graph.states)  # one that nobody reads is none
    inputs = samples(again, RUNS)
    expected = oracle.tflite_micro(blob, inputs, keep_state=True)
    assert_equal(expected, run_reference(again, inputs), "reference against TFLite Micro")
    assert_equal(expected, run_reference(passes.optimize(again), inputs), "after the passes")


def explored(graph: Graph, number: int) -> tuple[Graph, Schedule, Plan]:
    """One of the schedules that a goal finds, with nodes reordered, streams, and views."""
    found = explore(passes.optimize(graph), None, ("latency", "balanced", "sram")[number % 3]).candidates[0]
    return found.graph, found.schedule, plan(found.graph, found.schedule)


@settings(CHECKED, max_examples=7, phases=[Phase.generate])
@given(st.lists(stateful_networks(), min_size=TOGETHER, max_size=TOGETHER))
def test_the_c_of_random_networks_with_states_equals_the_reference(graphs: list[Graph]) -> None:
    """In both buffer modes, over a sequence; sanitized, in arenas and states of the exact size."""
    parts = [explored(replace(graph, name=f"n{n}"), n) for n, graph in enumerate(graphs)]
    with TemporaryDirectory() as folder:
        check_together(graphs, parts, Path(folder), count=RUNS)


@settings(CHECKED, max_examples=200)
@given(stateful_networks(), st.sampled_from(["latency", "sram"]))
def test_no_schedule_reads_a_state_after_it_is_written(graph: Graph, goal: str) -> None:
    """Whoever reads the bytes of a state runs before the node that writes them, also through reshapes without code."""
    for candidate in explore(passes.optimize(graph), None, goal).candidates[:4]:
        for state in candidate.graph.states:
            own, written = {state.current}, -1
            for i, layer in enumerate(candidate.schedule.layers):
                node = layer.node
                assert written < 0 or not own & set(node.inputs)
                own |= {node.outputs[0]} if not layer.calls and node.inputs[0] in own else set()
                written = i if state.next in node.outputs else written
            assert written >= 0
        assert not {s.current for s in candidate.graph.states} & set(plan(candidate.graph, candidate.schedule).tensors)


def test_the_random_networks_have_states_that_matter() -> None:
    """Most of the C test's networks compute something else in the second run of one sample than in the first."""
    seen = []

    @settings(CHECKED, max_examples=100, phases=[Phase.generate])
    @given(stateful_networks())
    def count(graph: Graph) -> None:
        sample = samples(graph, 4)[3]
        first, *_, last = run_reference(graph, [sample] * 3)
        seen.append(any(not np.array_equal(a, b) for a, b in zip(first, last, strict=True)))

    count()
    assert sum(seen) > len(seen) // 3
