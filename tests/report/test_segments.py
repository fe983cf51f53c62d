"""What the report says of streams: figures that the schedule, the plan and the generated C bear out."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.ir import Graph
from mcuc.plan import Plan, plan
from mcuc.report.segments import kernel_runs, memory_map, segment_reports
from mcuc.schedule import Schedule, Segment, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.members import Member, members_of
from mcuc.schedule.stream import make_stream, segment_members, stream_segment
from mcuc.schedule.strips import strips_of
from small_models import tiny_graph

MEMBERS = 4  # convolution, depthwise, pointwise, average pool
BLOCKS = (0, 1, 3, 5, 8)


def graph_of(side: int = 32) -> Graph:
    return passes.optimize(tiny_graph(side=side))


def streamed(graph: Graph, block: int, pushed: str | None = None) -> Schedule:
    """The first layers as one stream, the others alone."""
    layers = layer_by_layer(graph, None, Tiling()).layers
    whole = frozenset({layers[MEMBERS - 1].node.outputs[0]})
    members = members_of(layers[:MEMBERS], graph, whole, pushed)
    assert members is not None
    stream = stream_segment(members, make_stream(members, graph, block, pushed))
    return Schedule(Segment("layers", (stream, *layers[MEMBERS:])))


def members_in(schedule: Schedule, graph: Graph) -> tuple[Segment, tuple[Member, ...]]:
    stream = schedule.segments[0]
    assert isinstance(stream, Segment)
    return stream, segment_members(stream, graph)


def planned(graph: Graph, schedule: Schedule) -> Plan:
    return plan(graph, schedule, fast=True)


def runs_in_c(graph: Graph, schedule: Schedule, folder: Path) -> list[int]:
    """How often each kernel of the generated C is entered in one inference, in the order of the layers.

    The layers of the network differ, so each has a kernel function of its own.
    """
    emitted = emit(graph, schedule, planned(graph, schedule), "case", "test", 16, 1024)
    text = emitted.files["case.c"]
    names = re.findall(r"^static void (\w+)\(MCUC_KERNEL_ARGS[^{]*\{", text, re.M)
    counted = re.sub(r"^(static void (\w+)\(MCUC_KERNEL_ARGS[^{]*\{)", r'\1 fprintf(stderr, "\2\\n");', text,
                     flags=re.M)
    emitted.files["case.c"] = "#include <stdio.h>\n" + counted  # type: ignore[index]
    model = host.build(emitted, graph, folder)
    shape = graph.tensors[graph.inputs[0]].shape
    done = subprocess.run([str(model.executable)], input=np.zeros(shape, np.int8).tobytes(), capture_output=True,
                          check=True, timeout=60)
    entered = Counter(done.stderr.decode().split())
    return [entered[name] for name in names]


@pytest.mark.parametrize("block", BLOCKS)
def test_kernel_runs_are_those_of_the_generated_c(block: int, tmp_path: Path) -> None:
    graph = graph_of()
    schedule = streamed(graph, block)
    stream, members = members_in(schedule, graph)
    assert stream.stream is not None
    runs = kernel_runs(stream.stream, members)
    assert len(runs) == MEMBERS and all(runs)
    assert runs == runs_in_c(graph, schedule, tmp_path)[:MEMBERS]


def test_kernel_runs_of_layers_alone_are_those_of_the_generated_c(tmp_path: Path) -> None:
    graph = graph_of()
    schedule = layer_by_layer(graph, None, Tiling())
    found = segment_reports(graph, schedule, planned(graph, schedule), None)
    in_c = iter(runs_in_c(graph, schedule, tmp_path))
    for layer, segment in zip(schedule.layers, found, strict=True):
        times = next(in_c) if layer.calls else 0
        assert segment.weight_bytes_read == times * segment.weight_bytes
        assert segment.weight_bytes == (layer.table_bytes if layer.macs else 0)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("push", [False, True])
def test_segments_say_what_the_stream_is(block: int, push: bool) -> None:
    graph = graph_of()
    pushed = graph.inputs[0] if push else None
    schedule = streamed(graph, block, pushed)
    found = planned(graph, schedule)
    alone = layer_by_layer(graph, None, Tiling())
    segments = segment_reports(graph, schedule, found, None)
    assert [s.kind for s in segments] == ["stream"] + ["layer"] * (len(segments) - 1)
    assert [(s.lower, s.upper) for s in segments] == list(found.ranges)
    assert sum(s.layers for s in segments) == len(schedule.layers)
    first = segments[0]
    names = [layer.node.name for layer in schedule.layers]
    assert first.name == f"{names[0]} ... {names[MEMBERS - 1]}" and segments[1].name == names[MEMBERS]
    assert first.pushed == (graph.inputs[0] if push else "")
    inside = [graph.nodes[i].outputs[0] for i in range(MEMBERS - 1)] + ([graph.inputs[0]] if push else [])
    assert first.whole_bytes == sum(graph.tensors[n].bytes for n in inside)
    assert 0 < first.line_bytes < first.whole_bytes
    assert first.columns == block
    assert first.live == found.live[0] <= found.arena
    assert first.live_alone == max(planned(graph, alone).live[:MEMBERS]) > first.live
    assert first.extra_macs == 0


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("push", [False, True])
def test_every_buffer_has_its_kind_and_the_kinds_add_up(block: int, push: bool) -> None:
    graph = graph_of()
    schedule = streamed(graph, block, graph.inputs[0] if push else None)
    found = planned(graph, schedule)
    buffers = memory_map(graph, schedule, found)
    segment = segment_reports(graph, schedule, found, None)[0]
    assert {b.name for b in buffers} == {b.id for b in found.buffers}
    of = {kind: [b for b in buffers if b.kind == kind] for kind in {b.kind for b in buffers}}
    assert sum(b.size for b in of["line"]) == segment.line_bytes
    others = of["sums"] + of["counters"] + of.get("push buffer", [])
    assert sum(b.size for b in others) == segment.other_bytes
    assert [b.name for b in of["output"]] == list(graph.outputs)
    if push:
        assert "input" not in of and [b.size for b in of["push buffer"]] == [32], "one row of 32 pixels"
    else:
        assert [b.name for b in of["input"]] == list(graph.inputs) and "push buffer" not in of
        assert of["input"][0].spans, "the input dies row by row"
    for b in buffers:
        source = next(x for x in found.buffers if x.id == b.name)
        assert [(s.lower, s.upper, s.start, s.end) for s in source.spans] == list(b.spans)


def test_strips_count_what_they_compute_and_run_again(tmp_path: Path) -> None:
    """MACs of the halo, by hand: two strips of a 16-column image, the depthwise's input columns 7 and 8 twice."""
    graph = graph_of()
    layers = layer_by_layer(graph, None, Tiling()).layers
    whole = frozenset({layers[MEMBERS - 1].node.outputs[0]})
    members = members_of(layers[:MEMBERS], graph, whole)
    assert members is not None
    strips = strips_of(members, 2)
    assert strips is not None
    for block in BLOCKS:
        stream = stream_segment(members, make_stream(members, graph, block, strips=strips))
        schedule = Schedule(Segment("layers", (stream, *layers[MEMBERS:])))
        found = segment_reports(graph, schedule, planned(graph, schedule), None)[0]
        assert found.extra_macs == layers[0].macs * 2 // 16
        assert stream.stream is not None
        runs = runs_in_c(graph, schedule, tmp_path / str(block))[:MEMBERS]
        assert kernel_runs(stream.stream, segment_members(stream, graph)) == runs

