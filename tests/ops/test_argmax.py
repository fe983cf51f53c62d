"""Argmax: C, reference and TFLite Micro agree, ties included; --argmax leaves out what only keeps the order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import activation, check_c, check_tflite, constant, tflite_graph

import mcuc
import small_models
from mcuc import passes
from mcuc.ir import DType, Graph, Tensor
from mcuc.passes import answer_argmax
from mcuc.verify import reference

SHAPES = ((1, 2), (1, 10), (1, 3, 4, 5), (6, 1), (1, 1000))


def graph_of(shape: tuple[int, ...], axis: int = -1, kind: str = "ARG_MAX") -> Graph:
    x = activation("x", shape, 0.1, 3)
    y = Tensor("y", shape[: axis % len(shape)] + shape[axis % len(shape) + 1 :], DType.INT32)
    return tflite_graph(kind, [x, constant("axis", np.array(axis, np.int32))], y, outputType=2)


@pytest.mark.parametrize("kind", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("shape", SHAPES)
def test_reference_equals_the_oracle(shape: tuple[int, ...], kind: str) -> None:
    check_tflite(graph_of(shape, kind=kind))


@pytest.mark.parametrize("kind", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("axis", range(-4, 4))
def test_any_axis(axis: int, kind: str) -> None:
    check_tflite(graph_of((2, 3, 4, 5), axis, kind))


def test_an_axis_out_of_range_is_refused() -> None:
    with pytest.raises(mcuc.McucError, match="axis 4 of 4"):
        tflite_graph("ARG_MAX", [activation("x", (2, 3, 4, 5)), constant("axis", np.array(4, np.int32))],
                     Tensor("y", (2, 3, 4), DType.INT32), outputType=2)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([graph_of(shape, axis, kind) for shape in (*SHAPES, (2, 3, 4, 5)) for axis in range(-len(shape), 0)
             for kind in ("ARG_MAX", "ARG_MIN")], tmp_path)


def test_of_equal_values_the_first() -> None:
    graph = graph_of((1, 5))
    x = np.array([[3, 7, 7, -1, 7]], np.int8)
    assert reference.run(graph, {"x": x})["y"].tolist() == [1]


def test_the_answer_is_that_of_the_whole_model(tmp_path: Path) -> None:
    """On samples without equal probabilities; the logits decide where there are."""
    graph = passes.optimize(small_models.tiny_graph(classes=7))
    short = answer_argmax(graph)
    assert [n.op for n in short.nodes][-2:] == ["fully_connected", "argmax"]
    rng, compared = np.random.default_rng(1), 0
    for _ in range(50):
        image = rng.integers(-128, 128, graph.tensors["image"].shape).astype(np.int8)
        (whole,) = (reference.run(graph, {"image": image})[n].reshape(-1) for n in graph.outputs)
        (index,) = (int(reference.run(short, {"image": image})[n].item()) for n in short.outputs)
        assert whole[index] == whole.max()
        compared += int((whole == whole.max()).sum() == 1)
    assert compared > 20


def test_the_c_answers_with_the_index(tmp_path: Path) -> None:
    model = tmp_path / "tiny.tflite"
    model.write_bytes(small_models.tiny())
    done = mcuc.compile(model, argmax=True, out=tmp_path / "out")
    assert done.report.verify.bit_exact and "typedef int32_t tiny_output_t;" in (tmp_path / "out/tiny.h").read_text()
    assert [layer.op for layer in done.report.layers][-1] == "argmax"
    assert "softmax" not in [layer.op for layer in done.report.layers]


def test_several_outputs_are_refused() -> None:
    graph = passes.optimize(small_models.tiny_graph())
    both = Graph(**{**vars(graph), "outputs": (*graph.outputs, "dense")})
    with pytest.raises(mcuc.McucError, match="2 outputs"):
        answer_argmax(both)


def test_a_logarithm_of_softmax_is_left_out_and_a_function_that_turns_the_order_is_not() -> None:
    x = activation("x", (1, 10))
    for kind, out, kept in (("LOG_SOFTMAX", (1 / 16, 127), ["argmax"]), ("ABS", (0.05, 0), ["unary", "argmax"])):
        graph = answer_argmax(tflite_graph(kind, [x], activation("y", (1, 10), *out)))
        assert [n.op for n in graph.nodes] == kept
