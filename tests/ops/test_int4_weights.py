"""Weights of four bits: exact against TFLite Micro, two in a byte of the generated C, written back as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_conv_2d as conv
import test_conv_2d_add as residual
import test_depthwise_conv_2d as depthwise
import test_fully_connected as dense
from harness import STRICT, assert_equal, check_c, check_tflite, ranked, run_reference, samples

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.ir import Graph, rebuild
from mcuc.plan import plan
from mcuc.schedule import Tiling
from mcuc.schedule.explore import layers_of
from mcuc.schedule.select import in_place_inputs, wide_for
from mcuc.targets import load_board


def of_four_bits(graph: Graph) -> Graph:
    """The graph with its weights in -8..7, marked as a file's int4; an odd number of them where the case has one."""
    node = graph.nodes[0]
    w = graph.tensors[node.inputs[1]]
    assert w.data is not None
    return rebuild(graph, graph.nodes, [replace(w, data=(w.data >> 4).astype(np.int8), int4=True)])


CONV = ("plain", "stride 2 SAME odd", "VALID", "dilation 2", "1x1", "1x1 stride 2", "whole image", "one pixel 1x1",
        "one channel, long kernel", "no bias", "per tensor", "relu6", "many taps")
DEPTHWISE = tuple(depthwise.CASES)
# TFLite Micro refuses dense weights of four bits with a scale for every channel.
DENSE = ("plain", "no bias", "one input", "one output", "several rows",
         "rank 3, dimensions kept", "relu", "many inputs")
GRAPHS = {
    **{f"convolution, {n}": lambda n=n: conv.graph_of(conv.CASES[n], 1) for n in CONV},
    **{f"depthwise, {n}": lambda n=n: depthwise.graph_of(depthwise.CASES[n], 1) for n in DEPTHWISE},
    **{f"dense, {n}": lambda n=n: dense.graph_of(dense.CASES[n], 1) for n in DENSE},
}


@pytest.mark.parametrize("name", GRAPHS)
def test_tflite_micro(name: str) -> None:
    graph = of_four_bits(GRAPHS[name]())
    again = check_tflite(graph)
    w, back = (g.tensors[g.nodes[0].inputs[1]] for g in (graph, again))
    assert back.int4 and np.array_equal(w.data, back.data)


def test_the_file_holds_two_weights_in_a_byte() -> None:
    graph = of_four_bits(dense.graph_of(dense.Case(shape=(1, 4000), outputs=5), 1))
    plain = rebuild(graph, graph.nodes, [replace(t, int4=False) for t in graph.tensors.values() if t.int4])
    assert len(exporter.export(plain)) - len(exporter.export(graph)) == pytest.approx(10000, abs=16)


@pytest.mark.parametrize("board", ("mps2-an386", "mps2-an500", "nucleo-g0b1re", None))
def test_the_tables_hold_two_weights_in_a_byte(board: str | None) -> None:
    """Unless bytes are asked for, on every core."""
    graphs = [conv.graph_of(conv.Case(channels=16, outputs=16), 1), depthwise.graph_of(depthwise.Case(channels=32), 1)]
    chip = None if board is None else load_board(board).chip
    for graph in map(of_four_bits, graphs):
        lowered = passes.optimize(graph)
        weights = graph.tensors[graph.nodes[0].inputs[1]].elements
        for wide, least, most in (((), 0, 0.51 * weights), (wide_for("latency"), 0.99 * weights, 9 * weights)):
            (layer,) = layers_of(lowered, chip, Tiling(), wide=wide)
            ((call, kernel),) = layer.calls
            table = next(t for t in kernel.tables(call) if t.name in ("weights", "halves"))
            assert least <= table.bytes <= most, f"{kernel.id}: {table.bytes} bytes for {weights} weights"


def test_c_in_all_tilings(tmp_path: Path) -> None:
    """Groups as well, and convolutions that add."""
    more = [conv.graph_of(conv.CASES["groups 2"], 3),
            *(residual.graph_of(residual.CASES[n], 3) for n in ("plain", "1x1", "odd columns", "no bias"))]
    check_c([of_four_bits(graph) for graph in (*(make() for make in GRAPHS.values()), *more)], tmp_path, optimize=True)


@pytest.mark.parametrize("who", ("1-row", "pixel-and-channel"))
def test_a_convolution_that_adds_may_write_over_what_it_adds(who: str, tmp_path: Path) -> None:
    graph = residual.between_others(residual.Case(outputs=7), 6)
    w = next(t for t in graph.tensors.values() if t.name == "w")
    assert w.data is not None
    packed = replace(w, data=(w.data >> 4).astype(np.int8), int4=True)
    graph = passes.optimize(rebuild(graph, graph.nodes, [packed]))
    inputs = samples(graph)
    for rank in (None, 0):
        schedule = ranked(graph, ((rank, who),))
        layer = next(layer for layer in schedule.layers if layer.node.op == "conv_2d_add")
        assert "nibbles" in layer.calls[0][1].id and in_place_inputs(layer, graph) == ("r",)
        placed = plan(graph, schedule)
        assert placed.tensors["y"] == placed.tensors["r"]
        emitted = emit(graph, schedule, placed, "case", "test", 16, 1024)
        model = host.build(emitted, graph, tmp_path / str(rank), sanitize=True, emulate_dsp=True, extra_flags=STRICT)
        found = host.run(model, inputs).outputs
        actual = [[out[n] for out in found] for n in range(len(inputs))]
        assert_equal(run_reference(graph, inputs), actual, f"{who}, rank {rank}")


def test_a_run_time_tensor_of_four_bits_is_refused() -> None:
    graph = dense.graph_of(dense.Case(), 1)
    x = graph.tensors["x"]
    blob = exporter.export(rebuild(graph, graph.nodes, [replace(x, int4=True)]))
    with pytest.raises(McucError, match="int4 is computed at run time"):
        importer.parse(blob, "case.tflite", "case")
