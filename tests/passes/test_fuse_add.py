"""An addition goes into the convolution before it exactly where nobody sees the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness import RNG, activation, assert_equal, bias, constant, run_reference, samples, tflite_graph, weights

from mcuc import passes
from mcuc.ir import Graph, Node, Tensor, check
from mcuc.passes.fuse_add import fuse_add, split_add

SHAPE = (1, 5, 4, 4)
CONV = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1,
        "fusedActivationFunction": 0}


class Net:
    """A network grown step by step; tensors by name, x and r are the inputs."""

    def __init__(self) -> None:
        self.rng = RNG(7)
        self.tensors: dict[str, Tensor] = {n: activation(n, SHAPE, 0.031, 4) for n in ("x", "r")}
        self.nodes: list[Node] = []

    def step(self, kind: str, inputs: Sequence[Tensor], out: Tensor, **fields: Any) -> Net:
        graph = tflite_graph(kind, inputs, out, **fields)
        unique = {t.name: f"{len(self.nodes)}/{t.name}" for t in graph.tensors.values() if t.data is not None}
        self.tensors |= {(new := unique.get(n, n)): replace(t, name=new) for n, t in graph.tensors.items()}
        names = tuple(unique.get(n, n) for n in graph.nodes[0].inputs)
        self.nodes.append(replace(graph.nodes[0], name=f"{len(self.nodes)}:{kind}", inputs=names))
        return self

    def conv(self, source: str, out: str, channels: int = 4, reads: int = 4, **fields: Any) -> Net:
        x = self.tensors[source]
        w = weights(self.rng, (channels, 3, 3, reads))
        y = activation(out, (*SHAPE[:3], channels), 0.083, -11)
        return self.step("CONV_2D", (x, w, bias(self.rng, x, w, channels)), y, **{**CONV, **fields})

    def add(self, a: str, b: str, out: str, kind: str = "ADD", scale: float = 0.097, **fields: Any) -> Net:
        return self.step(kind, (self.tensors[a], self.tensors[b]), activation(out, SHAPE, scale, 3), **fields)

    def graph(self, *outputs: str) -> Graph:
        used = {n for node in self.nodes for n in (*node.inputs, *node.outputs)}
        inputs = tuple(n for n in ("x", "r") if n in used)
        tensors = {n: t for n, t in self.tensors.items() if n in used}
        return check(Graph("net", "tflite", tensors, tuple(self.nodes), inputs, outputs))


def after(graph: Graph) -> Graph:
    """The graph after the pass; no number changes, and taken apart it is as before."""
    found = check(fuse_add(graph))
    inputs = samples(graph, 8)
    assert_equal(run_reference(graph, inputs), run_reference(found, inputs), "fused")
    again = check(split_add(found))
    assert {str(n) for n in again.nodes} == {str(n) for n in graph.nodes}
    assert {n: (t.shape, t.quant) for n, t in again.tensors.items()} == {
        n: (t.shape, t.quant) for n, t in graph.tensors.items()}
    return found


def ops_of(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
@pytest.mark.parametrize("first", [False, True])
def test_either_operand_may_be_the_convolution(kind: str, first: bool) -> None:
    net = Net().conv("x", "t")
    found = after(net.add(*(("t", "r") if first else ("r", "t")), "y", kind).graph("y"))
    (node,) = found.nodes
    assert node.op == "conv_2d_add" and node.inputs[0] == "x" and node.inputs[3] == "r" and node.outputs == ("y",)
    assert node.attrs.first == first and "t" not in found.tensors


def test_of_two_convolutions_the_later_one_adds() -> None:
    found = after(Net().conv("x", "t").conv("r", "s").add("t", "s", "y").graph("y"))
    assert [(n.op, n.inputs[0]) for n in found.nodes] == [("conv_2d", "x"), ("conv_2d_add", "r")]
    assert found.nodes[1].inputs[3] == "t"


def test_the_residual_may_come_later_than_the_convolution() -> None:
    net = Net().conv("x", "t")
    net.step("LOGISTIC", [net.tensors["r"]], activation("s", SHAPE, 1 / 256, -128))
    assert ops_of(after(net.add("t", "s", "y", scale=0.0613).graph("y"))) == ["logistic", "conv_2d_add"]


def test_sums_of_sums_take_one_convolution_each() -> None:
    net = Net().conv("x", "t").add("t", "r", "a").conv("a", "s").add("a", "s", "c")
    found = after(net.conv("c", "u").add("u", "r", "y").graph("y"))
    assert ops_of(found) == ["conv_2d_add", "conv_2d", "add", "conv_2d_add"], "s reads what is added to it"


def test_results_that_others_read_are_kept() -> None:
    assert ops_of(after(Net().conv("x", "t").add("t", "r", "y").graph("y", "t"))) == ["conv_2d", "add"]
    assert ops_of(after(Net().conv("x", "t").add("t", "r", "a").add("t", "a", "y").graph("y"))) == [
        "conv_2d", "add", "add"]


def test_a_tensor_that_is_read_through_a_window_is_not_added() -> None:
    assert ops_of(after(Net().conv("x", "t").add("t", "x", "y").graph("y"))) == ["conv_2d", "add"]
    shape = constant("", np.array(SHAPE, np.int32))
    net = Net().step("RESHAPE", [activation("x", SHAPE, 0.031, 4), shape], activation("z", SHAPE, 0.031, 4))
    assert ops_of(after(net.conv("z", "t").add("t", "x", "y").graph("y"))) == ["reshape", "conv_2d", "add"]


def test_constants_twice_the_same_and_other_shapes_are_not_added() -> None:
    net = Net().conv("x", "t")
    value = constant("k", RNG(1).integers(-128, 128, SHAPE).astype(np.int8), (0.02,), (1,))
    with_constant = net.step("ADD", (net.tensors["t"], value), activation("y", SHAPE, 0.1, 3)).graph("y")
    assert ops_of(after(with_constant)) == ["conv_2d", "add"]
    assert ops_of(after(Net().conv("x", "t").add("t", "t", "y").graph("y"))) == ["conv_2d", "add"]
    net = Net().conv("x", "t")
    row = activation("r", (1, 1, 4, 4), 0.05, 2)
    assert ops_of(after(net.step("ADD", (net.tensors["t"], row), activation("y", SHAPE, 0.1, 3)).graph("y"))) == [
        "conv_2d", "add"]


def test_grouped_convolutions_and_clamped_sums_stay_apart() -> None:
    assert ops_of(after(Net().conv("x", "t", reads=2).add("t", "r", "y").graph("y"))) == ["conv_2d", "add"]
    clamped = Net().conv("x", "t").add("t", "r", "y", fusedActivationFunction=1)  # at the zero point, 3
    assert ops_of(after(clamped.graph("y"))) == ["conv_2d", "add"]
    inside = Net().conv("x", "t", fusedActivationFunction=1).add("t", "r", "y")
    assert ops_of(after(inside.graph("y"))) == ["conv_2d_add"], "the convolution's own clamp stays with it"


def test_sums_that_no_weights_make_exact_stay_apart() -> None:
    """An output so coarse that nothing of the inputs is left."""
    assert ops_of(after(Net().conv("x", "t").add("t", "r", "y", scale=1e9).graph("y"))) == ["conv_2d", "add"]


def test_all_passes_fuse_and_a_second_time_changes_nothing() -> None:
    graph = Net().conv("x", "t").add("t", "r", "y").graph("y")
    once = passes.optimize(graph)
    assert ops_of(once) == ["conv_2d_add"] and str(passes.optimize(once)) == str(once)
    assert passes.check_supported(once) is once
