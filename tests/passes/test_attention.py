"""Attention, however it is spelled, becomes layers a head that run token by token; no number changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import RNG, activation, assert_equal, bias, run_reference, samples, tflite_graph, weights

import mcuc
from mcuc import passes
from mcuc.exporters import tflite as exporter
from mcuc.ir import Graph, Node, Tensor, check
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.ops.slice import SliceAttrs
from mcuc.ops.transpose import TransposeAttrs
from mcuc.passes.repeat_norms import repeat_norms
from mcuc.passes.split_heads import split_heads
from mcuc.passes.tokens_as_images import tokens_as_images

TOKENS, CHANNELS, HEADS, DEPTH = 48, 24, 2, 8
WIDTH = HEADS * DEPTH


class Builder:
    """A graph in the making: each method adds a layer and returns its output."""

    def __init__(self) -> None:
        self.rng = RNG(7)
        self.tensors: dict[str, Tensor] = {"x": activation("x", (1, TOKENS, CHANNELS), 0.04, 3)}
        self.nodes: list[Node] = []

    def made(
        self, kind: str, inputs: list[Tensor], shape: tuple[int, ...], scale: float, zero: int, **fields: Any
    ) -> Tensor:
        out = activation(f"t{len(self.nodes)}", shape, scale, zero)
        graph = tflite_graph(kind, inputs, out, **fields)
        self.tensors.update(graph.tensors)
        self.nodes.append(replace(graph.nodes[0], name=out.name))
        return out

    def move(self, op: str, attrs: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        out = replace(x, name=f"t{len(self.nodes)}", shape=shape)
        self.tensors[out.name] = out
        self.nodes.append(Node(out.name, op, (x.name,), (out.name,), attrs))
        return out

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        return self.move("reshape", ReshapeAttrs(shape), x, shape)

    def transpose(self, x: Tensor, *perm: int) -> Tensor:
        return self.move("transpose", TransposeAttrs(perm), x, tuple(x.shape[p] for p in perm))

    def slice(self, x: Tensor, axis: int, at: int) -> Tensor:
        begin, size = [0] * len(x.shape), list(x.shape)
        begin[axis], size[axis] = at, 1
        attrs = SliceAttrs(tuple(begin), tuple(size), (1,) * len(size), (axis,))
        return self.move("slice", attrs, x, tuple(n for i, n in enumerate(x.shape) if i != axis))

    def dense(self, x: Tensor, outputs: int) -> Tensor:
        name, columns = f"t{len(self.nodes)}", x.shape[-1]
        w = replace(weights(self.rng, (outputs, columns), per_channel=False), name=f"{name}/w")
        b = replace(bias(self.rng, x, w, outputs, 500), name=f"{name}/b")
        return self.made("FULLY_CONNECTED", [x, w, b], (x.elements // columns, outputs), 0.06, -5, keepNumDims=False)

    def graph(self, out: Tensor) -> Graph:
        return check(Graph("net", "tflite", self.tensors, tuple(self.nodes), ("x",), (out.name,)))


def attention(spelling: str) -> Graph:
    """One dense layer for all three or one for each, keys turned by a transpose or by the product, values scaled."""
    b = Builder()
    x = b.tensors["x"]
    if spelling == "one dense layer":
        t = b.transpose(b.reshape(b.dense(x, 3 * WIDTH), 1, TOKENS, 3, HEADS, DEPTH), 2, 0, 3, 1, 4)
        q, k, v = (b.slice(t, 0, i) for i in range(3))
    else:
        q, k, v = (b.transpose(b.reshape(b.dense(x, WIDTH), 1, TOKENS, HEADS, DEPTH), 0, 2, 1, 3) for _ in range(3))
    size = (1, HEADS, TOKENS)
    if spelling == "a function in between":
        v = b.made("LOGISTIC", [v], v.shape, 1 / 256, -128)
    if spelling == "turned keys":
        s = b.made("BATCH_MATMUL", [q, b.transpose(k, 0, 1, 3, 2)], (*size, TOKENS), 0.4, 3)
    else:
        s = b.made("BATCH_MATMUL", [q, k], (*size, TOKENS), 0.4, 3, adjY=True)
    p = b.made("SOFTMAX", [s], s.shape, 1 / 256, -128, beta=1.0)
    o = b.made("BATCH_MATMUL", [p, v], (*size, DEPTH), 0.05, 2)
    y = b.reshape(b.transpose(o, 0, 2, 1, 3), *((TOKENS, WIDTH) if spelling != "a relu behind" else (1, TOKENS, WIDTH)))
    if spelling == "a relu behind":
        return b.graph(b.made("RELU", [y], y.shape, 0.05, 2))
    return b.graph(b.dense(y, CHANNELS))


SPELLINGS = ("one dense layer", "three dense layers", "turned keys", "a function in between", "a relu behind")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_heads_are_layers_of_their_own_and_nothing_is_moved(spelling: str) -> None:
    graph = attention(spelling)
    after = passes.optimize(graph)
    inputs = samples(graph, 5)
    assert_equal(run_reference(graph, inputs), run_reference(after, inputs), spelling)
    kinds = [node.op for node in after.nodes]
    assert kinds.count("softmax") == HEADS and kinds.count("batch_matmul") == 2 * HEADS
    assert kinds.count("fully_connected") == 3 * HEADS and "transpose" not in kinds
    assert kinds.count("concat_dense") == (spelling != "a relu behind"), "all heads go into one layer"
    images = [after.tensors[n.outputs[0]].shape for n in after.nodes if n.op in ("fully_connected", "softmax")]
    assert all(shape[:3] == (1, 1, TOKENS) for shape in images)


def test_what_is_no_attention_stays() -> None:
    """Scores that somebody else reads; queries that no dense layer computes; rows that are not the dense layer's."""
    graph = attention("three dense layers")
    read = replace(graph, outputs=(*graph.outputs, next(n.outputs[0] for n in graph.nodes if n.op == "softmax")))
    assert split_heads(read) is read
    (first, *_) = (i for i, n in enumerate(graph.nodes) if n.op == "fully_connected")
    given = check(replace(graph, nodes=graph.nodes[:first] + graph.nodes[first + 1 :],
                          inputs=("x", graph.nodes[first].outputs[0])))
    assert split_heads(given) is given
    reshaped = tuple(replace(n, op="reshape", attrs=ReshapeAttrs(graph.tensors[n.outputs[0]].shape))
                     if n.op == "transpose" else n for n in graph.nodes)
    mixed = check(replace(graph, nodes=reshaped))
    assert split_heads(mixed) is mixed


def test_tokens_of_a_single_row_are_left_alone() -> None:
    b = Builder()
    b.tensors["x"] = activation("x", (1, CHANNELS), 0.04, 3)
    graph = b.graph(b.dense(b.dense(b.tensors["x"], 8), 4))
    assert tokens_as_images(graph) is graph


def test_a_norm_is_repeated_for_readers_that_need_no_whole_tensor() -> None:
    """Keys and values share one, queries have their own; what has one reader stays."""
    graph = attention("three dense layers")
    norm = Tensor("n", graph.tensors["x"].shape, graph.tensors["x"].dtype, graph.tensors["x"].quant)
    nodes = [Node("norm", "layer_norm", ("x",), ("n",), None)]
    nodes += [replace(n, inputs=tuple("n" if i == "x" else i for i in n.inputs)) for n in graph.nodes]
    normed = check(replace(graph, tensors={**graph.tensors, "n": norm}, nodes=tuple(nodes)))
    split = tokens_as_images(split_heads(normed))
    live = passes.remove_dead(split)
    after = repeat_norms(live)
    norms = [n for n in after.nodes if n.op == "layer_norm"]
    assert len(norms) == 2 * HEADS and len({n.name for n in norms}) == 2 * HEADS
    readers = after.consumers()
    assert [len(readers[n.outputs[0]]) for n in norms] == [2, 1] * HEADS
    assert repeat_norms(after) is after and "4 instead of 1" in after.notes[-1]
    assert repeat_norms(graph) is graph


@pytest.mark.parametrize("spelling", ["one dense layer", "a function in between"])
def test_the_smallest_schedule_never_holds_all_scores(spelling: str, tmp_path: Path) -> None:
    """Exact on the host and on the emulated core; less memory than the scores of all heads alone would take."""
    path = tmp_path / "net.tflite"
    path.write_bytes(exporter.export(attention(spelling)))
    fast = mcuc.compile(path, optimize="latency", out=tmp_path / "fast").report
    least = mcuc.compile(path, budget="min", out=tmp_path / "least").report
    assert fast.verify.bit_exact and least.verify.bit_exact and least.verify.audit == 0
    held = TOKENS * (CHANNELS + WIDTH + 2 * DEPTH)  # the input, all heads' results, keys and values of one
    assert least.sram.arena < held + 4 * TOKENS + 200 < fast.sram.arena
