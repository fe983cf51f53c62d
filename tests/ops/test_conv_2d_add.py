"""A convolution that adds another tensor to its result computes what both layers did, in every kernel and tiling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from harness import (
    RNG,
    STRICT,
    TILINGS,
    activation,
    assert_equal,
    bias,
    check_c,
    check_emulated,
    check_tflite,
    ranked,
    run_reference,
    samples,
    tflite_graph,
    weights,
)

from mcuc import ops, passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.ir import Graph, Node, check
from mcuc.ops._spatial import Window, same_padding
from mcuc.passes.fuse_add import split_add
from mcuc.plan import plan
from mcuc.schedule.select import in_place_inputs


@dataclass(frozen=True)
class Case:
    """A convolution of x [1, *size, channels] and an addition of its result and r; the rest is random from the seed."""

    size: tuple[int, int] = (6, 7)
    channels: int = 4
    outputs: int = 5
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    kind: str = "ADD"
    first: bool = True
    bias: bool = True
    ratio: float = 1.0
    relu: bool = False


CASES = {
    "plain": Case(),
    "the other way round": Case(first=False),
    "subtracted from": Case(kind="SUB"),
    "subtracted": Case(kind="SUB", first=False),
    "whole groups": Case(channels=8, outputs=8),
    "1x1": Case(kernel=(1, 1), channels=9, outputs=7),
    "1x1, whole groups": Case(kernel=(1, 1), channels=16, outputs=12),
    "stride 2": Case(size=(7, 8), stride=(2, 2), outputs=6),
    "dilation 2": Case(size=(9, 9), dilation=(2, 2)),
    "one column": Case(size=(5, 1), outputs=4),
    "odd columns": Case(size=(3, 5), channels=3, outputs=9),
    "no bias": Case(bias=False),
    "large residual": Case(ratio=5.0),
    "small residual": Case(ratio=0.1, outputs=8),
    "first layer": Case(channels=3, outputs=8, stride=(2, 2)),
    "relu before it": Case(relu=True),
}


def graph_of(case: Case, seed: int, weight_zero: int = 0, int4: bool = False) -> Graph:
    """Both layers, of random weights (int4: of four bits), scales and zero points, as a file has them."""
    rng = RNG(seed)
    zeros = [int(z) for z in rng.integers(-128, 128, 4)]
    x = activation("x", (1, *case.size, case.channels), float(2.0 ** rng.uniform(-8, -2)), zeros[0])
    w = weights(rng, (case.outputs, *case.kernel, case.channels), per_channel=not weight_zero)
    assert x.quant is not None and w.quant is not None
    if int4:
        w = replace(w, data=rng.integers(-8, 8, w.shape).astype(np.int8), int4=True)
    if weight_zero:
        w = replace(w, quant=replace(w.quant, zero_point=(weight_zero,)))
    pad = same_padding(case.size, case.kernel, case.stride, case.dilation)
    shape = (1, *Window(case.kernel, case.stride, case.dilation, pad).output(*case.size), case.outputs)
    size = 74 * (5 if int4 else 74) * np.sqrt(w.elements // case.outputs)
    spread = x.quant.scale[0] * float(np.mean(w.quant.scale)) * size
    scale = float(spread / 2.0 ** rng.uniform(4, 8))
    t = activation("t", shape, scale, zeros[1])
    r = activation("r", shape, scale * case.ratio, zeros[2])
    y = activation("y", shape, scale * (1 + case.ratio) * float(rng.uniform(0.3, 1.2)), zeros[3])
    conv = tflite_graph("CONV_2D", [x, w, bias(rng, x, w, case.outputs) if case.bias else None], t, padding=0,
                        strideH=case.stride[0], strideW=case.stride[1], dilationHFactor=case.dilation[0],
                        dilationWFactor=case.dilation[1], fusedActivationFunction=int(case.relu))
    joined = tflite_graph(case.kind, [t, r] if case.first else [r, t], y)
    nodes = (conv.nodes[0], Node("1:ADD", joined.nodes[0].op, *_ends(joined), joined.nodes[0].attrs))
    return check(Graph("case", "tflite", {**conv.tensors, **joined.tensors}, nodes, ("x", "r"), ("y",)))


def _ends(graph: Graph) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return graph.nodes[0].inputs, graph.nodes[0].outputs


def fused(graph: Graph) -> Graph:
    """The graph after the passes, which must have made one node of both layers."""
    after = passes.check_supported(passes.optimize(graph))
    assert [n.op for n in after.nodes] == ["conv_2d_add"]
    return after


@pytest.mark.parametrize("name", CASES)
def test_tflite_micro(name: str) -> None:
    """Both layers agree with TFLite Micro, and one node for both agrees with them."""
    graph = graph_of(CASES[name], 1)
    inputs = samples(graph)
    check_tflite(graph, inputs=inputs)
    assert_equal(run_reference(graph, inputs), run_reference(fused(graph), inputs), "one node for both layers")


def test_two_layers_again_are_the_same_two() -> None:
    for case in CASES.values():
        graph = graph_of(case, 2)
        again = split_add(fused(graph))
        folded = passes.fold_zero_points(graph)
        assert str(again) == str(folded) and [n.name for n in again.nodes] == [n.name for n in folded.nodes]
        assert all(again.tensors[n].quant == graph.tensors[n].quant for n in "xrty")
        assert split_add(again) is again


def test_output_shape_is_the_convolutions() -> None:
    after = fused(graph_of(CASES["stride 2"], 3))
    (node,) = after.nodes
    assert ops.get(node.op).infer(node.attrs, [after.tensors[n] for n in node.inputs if n]) == ((1, 4, 4, 6),)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    graphs = [graph_of(case, 4) for case in CASES.values()]
    unsigned = [graph_of(CASES[n], 5, weight_zero=9) for n in ("plain", "1x1", "whole groups")]
    for graph in (*graphs, *unsigned):
        fused(graph)
    check_c([*graphs, *unsigned], tmp_path, optimize=True)


def test_c_of_weights_of_four_bits(tmp_path: Path) -> None:
    names = ("plain", "subtracted", "1x1", "odd columns", "whole groups", "stride 2")
    graphs = [graph_of(CASES[n], 7, int4=True) for n in names]
    (call,) = ops.get("conv_2d_add").lower(fused(graphs[0]).nodes[0], fused(graphs[0]))  # type: ignore[misc]
    assert call.params["int4"] and call.params["residual"]
    check_c(graphs, tmp_path, optimize=True)


def between_others(case: Case, seed: int) -> Graph:
    """Both inputs of the layer are made by layers of their own and die in it; another layer reads its output."""
    graph = graph_of(case, seed)
    tensors = {**graph.tensors}
    nodes = list(graph.nodes)
    for name in ("x", "r", "y"):
        t = graph.tensors[name]
        source, out = (f"{name}0", name) if name != "y" else (name, "y0")
        tensors |= {n: replace(t, name=n, quant=replace(t.quant, zero_point=(5,))) for n in (f"{name}0",)}
        one = tflite_graph("QUANTIZE", [tensors[source]], tensors[out]).nodes[0]
        nodes.insert(len(nodes) if name == "y" else 0, replace(one, name=f"{name}:QUANTIZE"))
    return check(Graph("case", "tflite", tensors, tuple(nodes), ("x0", "r0"), ("y0",)))


@pytest.mark.parametrize("case", [Case(outputs=7), Case(kernel=(1, 1), channels=10, outputs=10)])
@pytest.mark.parametrize("who", TILINGS)
def test_its_output_lies_over_the_dying_residual(case: Case, who: str, tmp_path: Path) -> None:
    """And over nothing else that it reads, though that has the same size too."""
    graph = passes.optimize(between_others(case, 6))
    assert [n.op for n in graph.nodes if n.op != "quantize"] == ["conv_2d_add"]
    inputs = samples(graph)
    expected = run_reference(graph, inputs)
    for rank in (None, 0, 2):
        schedule = ranked(graph, ((rank, who),))
        layer = next(layer for layer in schedule.layers if layer.node.op == "conv_2d_add")
        assert in_place_inputs(layer, graph) == ("r",)
        placed = plan(graph, schedule)
        assert placed.storage["y"] == placed.storage["r"] and placed.tensors["y"] == placed.tensors["r"]
        emitted = emit(graph, schedule, placed, "case", "test", 16, 1024)
        model = host.build(emitted, graph, tmp_path / str(rank), sanitize=True, emulate_dsp=True, extra_flags=STRICT)
        found = host.run(model, inputs).outputs
        assert_equal(expected, [[out[n] for out in found] for n in range(len(inputs))], f"{who}, rank {rank}")
        if rank is not None:
            check_emulated(graph, schedule, placed, inputs, expected, tmp_path / f"{rank}-m4", "mps2-an386")
