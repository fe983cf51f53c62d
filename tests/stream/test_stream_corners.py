"""Corners of streams, each a network of a few layers, on tagged memory and in C: random networks found them wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from harness import activation, constant, tflite_graph
from random_networks import Growing, add_step, fresh
from random_schedules import needed_whole
from tagged import execute
from together import check_together

from mcuc import passes
from mcuc.ir import Graph, Tensor, check
from mcuc.plan import plan
from mcuc.plan.accesses import accesses
from mcuc.plan.regions import Region
from mcuc.schedule import Schedule, Segment, Tiling
from mcuc.schedule.explore import layers_of
from mcuc.schedule.stream import make_stream, members_of, stream_segment


class Network(Growing):
    """A network step by step; the inputs are the tensors that are there before the first step."""

    def __init__(self, *shapes: Sequence[int]) -> None:
        super().__init__(lambda _: None, np.random.default_rng(5))
        for shape in shapes:
            x = fresh(self, shape)
            self.values.append(x)
            self.tensors[x.name] = x
        self.inputs = tuple(self.tensors)

    def step(self, kind: str, x: Tensor, shape: Sequence[int], *vectors: Sequence[int], **fields: object) -> Tensor:
        """A step whose other arguments are vectors of int32."""
        arguments = [constant("", np.array(v, np.int32)) for v in vectors]
        add_step(self, kind, (x, *arguments), fresh(self, shape, like=x if kind != "RELU" else None), **fields)
        return self.values[-1]

    def graph(self, *outputs: Tensor) -> Graph:
        tensors, nodes = dict(self.tensors), tuple(self.nodes)
        return check(Graph("net", "tflite", tensors, nodes, self.inputs, tuple(t.name for t in outputs)))


def stream_of(graph: Graph, count: int, block: int = 0, pushed: str | None = None) -> Schedule:
    """The first `count` layers as a stream, the others alone."""
    layers = layers_of(graph, None, Tiling())
    members = members_of(layers[:count], graph, needed_whole(layers, 0, count, graph), pushed)
    assert members is not None
    segment = stream_segment(members, make_stream(members, graph, block, pushed))
    return Schedule(Segment("layers", (segment, *layers[count:])))


def runs_right(graph: Graph, schedules: Sequence[Schedule], folder: Path) -> None:
    """On tagged memory and in C, in both buffer modes."""
    parts = [(graph, schedule, plan(graph, schedule)) for schedule in schedules]
    for part in parts:
        for outside in (False, True):
            execute(*part, outside)
    check_together([graph] * len(parts), parts, folder)


def test_two_layers_of_a_stream_that_pick_rows_by_tables_have_a_table_each(tmp_path: Path) -> None:
    net = Network((1, 4, 3, 2))
    (x,) = net.values
    up = net.step("RESIZE_NEAREST_NEIGHBOR", x, (1, 8, 3, 2), (8, 3))
    down = net.step("RESIZE_NEAREST_NEIGHBOR", up, (1, 3, 5, 2), (3, 5), alignCorners=True)
    graph = net.graph(net.step("RELU", down, down.shape))
    runs_right(graph, [stream_of(graph, 3), stream_of(graph, 3, 2)], tmp_path)


@pytest.mark.parametrize("modes", [{}, {"alignCorners": True}, {"halfPixelCenters": True}], ids=str)
def test_rows_between_two_rows_have_their_weights_in_a_stream(modes: dict[str, bool], tmp_path: Path) -> None:
    net = Network((1, 4, 3, 2))
    (x,) = net.values
    a = net.step("RELU", x, x.shape)
    up = net.step("RESIZE_BILINEAR", a, (1, 7, 5, 2), (7, 5), **modes)
    down = net.step("RESIZE_BILINEAR", up, (1, 3, 4, 2), (3, 4), **modes)
    graph = net.graph(net.step("RELU", down, down.shape))
    runs_right(graph, [stream_of(graph, 4), stream_of(graph, 4, 2), stream_of(graph, 4, 0, x.name)], tmp_path)


def test_blocks_of_pixels_go_through_a_stream(tmp_path: Path) -> None:
    net = Network((1, 6, 4, 3))
    (x,) = net.values
    deep = net.step("SPACE_TO_DEPTH", x, (1, 3, 2, 12), blockSize=2)
    a = net.step("RELU", deep, deep.shape)
    wide = net.step("DEPTH_TO_SPACE", a, (1, 6, 4, 3), blockSize=2)
    graph = net.graph(net.step("RELU", wide, wide.shape))
    runs_right(graph, [stream_of(graph, 4), stream_of(graph, 4, 2), stream_of(graph, 4, 0, x.name)], tmp_path)


def test_an_average_is_not_read_in_the_stream_that_computes_it() -> None:
    """Its first row is its last: it is there when the whole image has passed by."""
    net = Network((1, 5, 4, 3))
    (x,) = net.values
    a = net.step("RELU", x, x.shape)
    mean = net.step("MEAN", a, (1, 1, 1, 3), (1, 2), keepDims=True)
    b = net.step("RELU", mean, mean.shape)
    graph = net.graph(mean, b)
    layers = layers_of(graph, None, Tiling())
    assert members_of(layers[:2], graph, frozenset([mean.name])) is not None
    assert members_of(layers, graph, frozenset([mean.name, b.name])) is None


@pytest.mark.parametrize("block", [0, 2])
def test_rows_of_padding_do_not_use_up_the_first_row_that_arrives(block: int, tmp_path: Path) -> None:
    net = Network((1, 4, 6, 2))
    (x,) = net.values
    y = net.step("PAD", x, (1, 9, 6, 2), ((0, 0), (3, 2), (0, 0), (0, 0)))
    graph = net.graph(net.step("RELU", y, y.shape))
    schedule = stream_of(graph, 2, block, x.name)
    (segment,) = schedule.segments
    assert isinstance(segment, Segment) and segment.stream is not None
    assert not segment.stream.passes[0] >> 2 & 1, "the first rows are padding"
    runs_right(graph, [schedule], tmp_path)


def test_outputs_that_are_written_while_rows_arrive_lie_in_the_work_bytes(tmp_path: Path) -> None:
    """Nobody knows the caller's buffers yet; also of an output that is such a tensor under another shape."""
    net = Network((1, 6, 5, 2))
    (x,) = net.values
    a = net.step("RELU", x, x.shape)
    b = net.step("RELU", a, a.shape)
    graph = net.graph(a, net.step("RESHAPE", b, (1, 60), (1, 60)))
    schedule = stream_of(graph, 2, 0, x.name)
    assert plan(graph, schedule).work >= 2 * 60
    runs_right(graph, [schedule], tmp_path)


def test_outputs_that_are_written_while_rows_arrive_are_where_dma_reaches() -> None:
    """The caller may take them out of the arena, as any other output, though they count as work."""
    net = Network((1, 6, 5, 2))
    (x,) = net.values
    a = net.step("RELU", x, x.shape)
    graph = net.graph(a, net.step("MEAN", a, (1, 1, 1, 2), (1, 2), keepDims=True))
    regions = [Region("fast", 400, dma=False), Region("slow", 400, cost=3.0)]
    placed = plan(graph, stream_of(graph, 1, 0, x.name), regions=regions)
    assert {placed.arenas[placed.arena_of(n)].name for n in graph.outputs} == {"slow"}
    assert placed.arenas[placed.own_region[graph.nodes[0].name]].name == "fast"


def test_a_copy_that_reshapes_reads_the_rows_of_its_output(tmp_path: Path) -> None:
    """The input as an image of 7 rows by one layer and of 21 by the other: it is read until the end of both."""
    net = Network((1, 7, 3, 1))
    (x,) = net.values
    a = net.step("RELU", x, x.shape)
    b = net.step("RESHAPE", x, (1, 21, 1, 1), (1, 21, 1, 1))
    graph = net.graph(a, b)
    schedule = stream_of(graph, 2, 2)
    (segment,) = schedule.segments
    found = accesses(segment, graph)
    assert found.ticks == 21
    assert [(end - start, tick) for start, end, tick in found.reads[x.name]] == [(1, t) for t in range(21)]
    runs_right(graph, [schedule], tmp_path)


def test_blocks_of_channels_over_a_dying_input(tmp_path: Path) -> None:
    """The layer goes through its row once for every block: nothing of the input is dead before the last one."""
    x, y = activation("x", (1, 5, 6, 3)), activation("y", (1, 5, 6, 3), 0.03, 5)
    graph = passes.optimize(tflite_graph("RELU", [x], y))
    (layer,) = layers_of(graph, None, Tiling(channels=1))
    runs_right(graph, [Schedule(Segment("layers", (layer,)))], tmp_path)
