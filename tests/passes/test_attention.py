"""Attention, however it is spelled, becomes layers a head that run token by token; no number changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from attention_networks import CHANNELS, DEPTH, HEADS, TOKENS, WIDTH, Builder, attention
from harness import activation, assert_equal, run_reference, samples

import mcuc
from mcuc import passes
from mcuc.exporters import tflite as exporter
from mcuc.ir import Node, Tensor, check
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.passes.repeat_norms import repeat_norms
from mcuc.passes.split_heads import split_heads
from mcuc.passes.tokens_as_images import tokens_as_images

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
