"""What chooses and compares (extremum, compare, logical, select) agrees with TFLite Micro, with every broadcast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import (
    RNG,
    activation,
    assert_equal,
    check_c,
    check_tflite,
    check_uint8,
    constant,
    run_reference,
    samples,
    tflite_graph,
)

from mcuc import ops
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.ir import DType, Graph, Tensor
from mcuc.verify import oracle

SHAPES = [
    ((1, 4, 5, 6), (1, 4, 5, 6)),
    ((1, 4, 5, 6), (1, 1, 1, 6)),
    ((1, 4, 5, 6), (1, 4, 1, 6)),
    ((1, 4, 5, 6), (1, 4, 5, 1)),
    ((1, 4, 1, 6), (1, 4, 5, 6)),
    ((1, 1, 5, 6), (1, 4, 1, 6)),
    ((1, 4, 5, 6), (6,)),
    ((1, 4, 5, 6), ()),
    ((1, 3, 8), (3, 8)),
    ((1, 9), (1, 9)),
]
EXTREMA = ("MAXIMUM", "MINIMUM")
COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
LOGICAL = ("LOGICAL_AND", "LOGICAL_OR")


def _operand(name: str, shape: tuple[int, ...], rng: Any, dtype: str, const: bool, same: bool) -> Tensor:
    if dtype == "bool":
        data = rng.integers(0, 2, shape).astype(bool)
        return constant(name, data) if const else Tensor(name, shape, DType.BOOL)
    scale, zero = (0.05, 3) if same else (float(2.0 ** rng.uniform(-6, -3)), int(rng.integers(-20, 20)))
    if const:
        return constant(name, rng.integers(-128, 128, shape).astype(np.int8), (scale,), (zero,))
    return activation(name, shape, scale, zero)


def graph_of(kind: str, shapes: tuple = SHAPES[0], seed: int = 0, const: int | None = None,
             same: bool = True, dtype: str = "int8") -> Graph:
    rng = RNG(seed)
    inputs = [_operand("ab"[k], shapes[k], rng, dtype, const == k, same or kind in EXTREMA) for k in (0, 1)]
    out = np.broadcast_shapes(*shapes)
    y = activation("y", out, 0.05, 3) if kind in EXTREMA else Tensor("y", out, DType.BOOL)
    return tflite_graph(kind, inputs, y)


def select_of(shapes: tuple, seed: int = 0, const: int | None = None, dtype: str = "int8") -> Graph:
    rng = RNG(seed)
    condition = _operand("c", shapes[0], rng, "bool", False, True)
    values = [_operand("ab"[k], shapes[k + 1], rng, dtype, const == k, True) for k in (0, 1)]
    shape = np.broadcast_shapes(*shapes)
    y = activation("y", shape, 0.05, 3) if dtype == "int8" else Tensor("y", shape, DType.BOOL)
    return tflite_graph("SELECT_V2", [condition, *values], y)


TRIPLES = [((1, 4, 5, 6),) * 3, ((1, 4, 5, 1), (1, 4, 5, 6), (1, 4, 5, 6)), ((1, 4, 5, 6), (1, 1, 1, 6), (1, 4, 1, 6)),
           ((1, 4, 5, 6), (), (1, 4, 5, 6)), ((1, 1, 1, 6), (1, 4, 5, 6), (6,)), ((1, 7), (1, 7), (1, 7))]


@pytest.mark.parametrize("const", [None, 0, 1])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("kind", [*EXTREMA, *COMPARISONS])
def test_broadcast(kind: str, shapes: tuple, const: int | None) -> None:
    check_tflite(graph_of(kind, shapes, 3, const))


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("kind", COMPARISONS)
def test_operands_of_different_scales(kind: str, seed: int) -> None:
    check_tflite(graph_of(kind, ((1, 8, 8, 16), (1, 8, 8, 16)), seed, same=False), seed=seed)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("kind", LOGICAL)
def test_truth_values(kind: str, shapes: tuple) -> None:
    check_tflite(graph_of(kind, shapes, dtype="bool"))


@pytest.mark.parametrize("kind", ["EQUAL", "NOT_EQUAL"])
def test_truth_values_compared(kind: str) -> None:
    check_tflite(graph_of(kind, dtype="bool"))


def test_not() -> None:
    check_tflite(negation())


def negation() -> Graph:
    return tflite_graph("LOGICAL_NOT", [Tensor("a", (1, 3, 5), DType.BOOL)], Tensor("y", (1, 3, 5), DType.BOOL))


@pytest.mark.parametrize("const", [None, 0, 1])
@pytest.mark.parametrize("shapes", TRIPLES, ids=str)
def test_select(shapes: tuple, const: int | None) -> None:
    check_tflite(select_of(shapes, 1, const))


@pytest.mark.parametrize("kind", EXTREMA)
def test_uint8(kind: str) -> None:
    check_uint8(graph_of(kind))


@pytest.mark.parametrize("condition", [(1, 4, 5, 6), ()])
def test_select_of_the_first_kind_agrees_with_litert(condition: tuple[int, ...]) -> None:
    """TFLite Micro lacks SELECT; LiteRT's reference kernels have it."""
    a, b, y = (activation(n, (1, 4, 5, 6), 0.05, 3) for n in "aby")
    c = Tensor("c", condition, DType.BOOL)
    graph = tflite_graph("SELECT", [c, a, b], y)
    inputs = samples(graph)
    blob = exporter.export(graph)
    assert_equal(oracle.litert_reference(blob, inputs), run_reference(graph, inputs), "reference against LiteRT")


def test_c_in_all_tilings(tmp_path: Path) -> None:
    graphs = [graph_of(kind, shapes, 3, const, same) for i, shapes in enumerate(SHAPES)
              for k, kind in enumerate((*EXTREMA, *COMPARISONS)) if (i + k) % 3 == 0
              for const in (None, 1) for same in (True, False)]
    graphs += [graph_of(kind, dtype="bool") for kind in (*LOGICAL, "EQUAL", "NOT_EQUAL")] + [negation()]
    graphs += [select_of(shapes, 1, const, dtype) for shapes in TRIPLES for const in (None, 1)
               for dtype in ("int8", "bool")]
    graphs += [graph_of(kind) for kind in (*EXTREMA, *COMPARISONS)]
    check_c([g for g in graphs if not _refused(g)], tmp_path)


def _refused(graph: Graph) -> str:
    node = graph.nodes[0]
    return "; ".join(filter(None, (limit(node, graph) for limit in ops.get(node.op).limits)))


def test_a_scale_on_which_tflite_aborts_is_refused() -> None:
    a, b = activation("a", (1, 4), 1.5), activation("b", (1, 4), 0.5)
    with pytest.raises(McucError, match="aborts on scales of 1"):
        tflite_graph("LESS", [a, b], Tensor("y", (1, 4), DType.BOOL))


def test_a_condition_that_is_no_truth_value_is_refused() -> None:
    a = activation("a", (1, 4))
    with pytest.raises(McucError, match="bool is needed"):
        tflite_graph("SELECT_V2", [a, a, a], activation("y", (1, 4)))


def test_select_between_scales_is_refused() -> None:
    values = [activation("a", (1, 4), 0.5), activation("b", (1, 4), 0.25)]
    with pytest.raises(McucError, match="different types or scales"):
        tflite_graph("SELECT_V2", [Tensor("c", (1, 4), DType.BOOL), *values], activation("y", (1, 4), 0.5))


def test_comparisons_of_shapes_are_folded() -> None:
    """Integers known while compiling are compared as they are."""
    a, b = constant("a", np.array([3, 70000], np.int32)), constant("b", np.array([4, 70000], np.int32))
    graph = tflite_graph("LESS", [a, b], Tensor("y", (2,), DType.BOOL))
    assert run_reference(graph, [[]])[0][0].tolist() == [True, False]
