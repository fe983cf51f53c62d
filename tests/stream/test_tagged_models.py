"""Published networks: schedules from the fastest to the smallest, run on memory that knows its bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from attention_networks import low_rank_attention
from tagged import execute

from mcuc import passes
from mcuc.importers import load
from mcuc.ir import Graph
from mcuc.plan import plan
from mcuc.schedule import Segment
from mcuc.schedule.explore import Candidate, explore

MODELS = ("ic_resnet8_int8", "kws_dscnn_int8", "vww96_int8", "te_vww80", "mbv1_025_128_u8",
          pytest.param("te_persondet", marks=pytest.mark.slow))
LARGE = "mbv2_100_224_u8"


def network(folder: Path, name: str) -> Graph:
    return passes.check_supported(passes.optimize(load(folder / "models" / f"{name}.tflite", None)))


def check_candidate(found: Candidate) -> None:
    """Every byte of every tensor is read by whoever reads it, in both buffer modes."""
    placed = plan(found.graph, found.schedule, fast=True)
    read = sum(found.graph.tensors[n].bytes for node in found.graph.nodes for n in found.graph.runtime_inputs(node))
    for outside in (False, True):
        assert execute(found.graph, found.schedule, placed, outside) > read // 2


@pytest.mark.parametrize("name", MODELS)
def test_the_fastest_the_middle_and_the_smallest_schedule_read_what_was_written(name: str, shared_data: Path) -> None:
    graph = network(shared_data, name)
    candidates = explore(graph, None, "latency").candidates
    assert any(isinstance(unit, Segment) for unit in candidates[-1].schedule.segments), "nothing runs as a stream"
    for k in sorted({0, len(candidates) // 2, len(candidates) - 1}):
        check_candidate(candidates[k])


@pytest.mark.parametrize("name", ["ic_resnet8_int8", "kws_dscnn_int8", "vww96_int8", "mbv1_025_128_u8"])
def test_the_smallest_schedule_with_rows_in_reads_what_was_written(name: str, shared_data: Path) -> None:
    graph = network(shared_data, name)
    smallest = explore(graph, None, "sram", graph.inputs[0]).candidates[0]
    first = smallest.schedule.segments[0]
    assert isinstance(first, Segment) and first.stream is not None and first.stream.pushed == graph.inputs[0]
    check_candidate(smallest)


def test_every_schedule_of_attention_reads_what_was_written() -> None:
    """Token blocks whose lines share bytes, sums over their inputs, results of heads over their queries, groups."""
    candidates = explore(passes.optimize(low_rank_attention(3)), None, "latency").candidates
    units = [unit for found in candidates for unit in found.schedule.segments]
    assert sum(isinstance(unit, Segment) and unit.stream is not None and unit.stream.blocks > 1 for unit in units) > 50
    for found in candidates:
        check_candidate(found)


@pytest.mark.slow
def test_the_smallest_schedule_of_a_large_network_reads_what_was_written(shared_data: Path) -> None:
    check_candidate(explore(network(shared_data, LARGE), None, "sram").candidates[0])
