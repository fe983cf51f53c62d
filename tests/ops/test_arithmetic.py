"""SQUARED_DIFFERENCE, DIV and ADD_N agree with TFLite Micro, with every broadcast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, constant, samples, tflite_graph

from mcuc import ops
from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Tensor
from mcuc.verify import reference

SHAPES = [((1, 4, 5, 6), (1, 4, 5, 6)), ((1, 4, 5, 6), (1, 1, 1, 6)), ((1, 4, 5, 6), (1, 4, 1, 6)),
          ((1, 4, 5, 6), (1, 4, 5, 1)), ((1, 4, 1, 6), (1, 4, 5, 6)), ((1, 4, 5, 6), (6,)), ((1, 4, 5, 6), ()),
          ((1, 3, 8), (3, 8))]


def _graph(kind: str, shapes: tuple, rng: Any, fused: int = 0, const: int | None = None) -> Graph:
    def operand(name: str, k: int) -> Tensor:
        scale, zero = float(2.0 ** rng.uniform(-8, -2)), int(rng.integers(-128, 128))
        if const == k:
            data = rng.integers(-128, 128, shapes[k]).astype(np.int8)
            return constant(name, np.where(data == zero, zero ^ 1, data).astype(np.int8), (scale,), (zero,))
        return activation(name, shapes[k], scale, zero)

    a, b = operand("a", 0), operand("b", 1)
    assert a.quant is not None and b.quant is not None
    scales = a.quant.scale[0], b.quant.scale[0]
    step = scales[0] / scales[1] / 100 if kind == "DIV" else max(scales) ** 2 * float(2.0 ** rng.uniform(1, 6))
    y = activation("y", np.broadcast_shapes(*shapes), step, int(rng.integers(-128, 128)))
    return tflite_graph(kind, [a, b], y, **({"fusedActivationFunction": fused} if kind == "DIV" else {}))


def _sum(count: int, seed: int = 0, shape: tuple[int, ...] = (1, 3, 4, 5)) -> Graph:
    rng = RNG(seed)
    scale, zero = float(2.0 ** rng.uniform(-6, -3)), int(rng.integers(-128, 128))
    parts = [activation(f"x{i}", shape, scale, zero) for i in range(count)]
    return tflite_graph("ADD_N", parts, activation("y", shape, scale * float(rng.uniform(0.5, 4)), 7))


def _defined(graph: Graph) -> list[list[Array]]:
    """Samples without a divisor of zero, on which TFLite is undefined."""
    zero = graph.nodes[0].attrs.zero_points[1]
    found = samples(graph)
    if len(graph.inputs) == 2:
        found = [[a, np.where(b == zero, zero ^ 1, b).astype(np.int8)] for a, b in found]
    return found


def _refused(graph: Graph) -> str:
    node = graph.nodes[0]
    return "; ".join(filter(None, (limit(node, graph) for limit in ops.get(node.op).limits)))


@pytest.mark.parametrize("const", [None, 0, 1])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_squared_difference(shapes: tuple, const: int | None) -> None:
    check_tflite(_graph("SQUARED_DIFFERENCE", shapes, RNG(7), 0, const))


@pytest.mark.parametrize("seed", range(20))
def test_squared_difference_of_random_scales(seed: int) -> None:
    check_tflite(_graph("SQUARED_DIFFERENCE", ((1, 8, 8, 16), (1, 8, 8, 16)), RNG(seed)), seed=seed)


@pytest.mark.parametrize("const", [None, 1])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_division(shapes: tuple, const: int | None) -> None:
    graph = _graph("DIV", shapes, RNG(7), 0, const)
    assert "ratio" not in _refused(graph)
    check_tflite(graph, inputs=_defined(graph))


@pytest.mark.parametrize("seed", range(20))
def test_division_of_random_scales(seed: int) -> None:
    graph = _graph("DIV", ((1, 8, 8, 16), (1, 8, 8, 16)), RNG(seed), seed % 4)
    check_tflite(graph, inputs=_defined(graph))


def test_division_of_all_pairs_of_bytes() -> None:
    """But for those on which TFLite is undefined."""
    a, b = activation("a", (1, 256, 256), 0.05, -3), activation("b", (1, 256, 256), 0.02, 5)
    graph = tflite_graph("DIV", [a, b], activation("y", (1, 256, 256), 0.025, 9))
    every = np.arange(-128, 128).astype(np.int8)
    pairs = [np.repeat(every, 256).reshape(1, 256, 256), np.tile(every, 256).reshape(1, 256, 256)]
    assert not _refused(graph)
    pairs[1] = np.where(pairs[1] == 5, 4, pairs[1]).astype(np.int8)
    check_tflite(graph, inputs=[pairs])


def test_a_divisor_of_zero_saturates() -> None:
    a, b = activation("a", (1, 3), 0.05, 0), activation("b", (1, 3), 0.02, 5)
    graph = tflite_graph("DIV", [a, b], activation("y", (1, 3), 0.025, 9))
    found = reference.run(graph, {"a": np.array([[4, -4, 0]], np.int8), "b": np.array([[5, 5, 5]], np.int8)})
    assert found["y"].tolist() == [[127, -128, 9]]


def test_a_division_on_which_tflite_is_undefined_is_refused() -> None:
    a, b = activation("a", (1, 3), 0.05, 0), activation("b", (1, 3), 0.05, 5)
    assert "a ratio of about 16" in _refused(tflite_graph("DIV", [a, b], activation("y", (1, 3), 0.05)))


def test_a_constant_divisor_of_zero_is_refused() -> None:
    b = constant("b", np.array([3, 5], np.int8), (0.02,), (5,))
    graph = tflite_graph("DIV", [activation("a", (1, 2), 0.05, 0), b], activation("y", (1, 2), 0.025))
    assert "has zeros" in _refused(graph)


@pytest.mark.parametrize("count", [2, 3, 7, 15])
def test_sum(count: int) -> None:
    check_tflite(_sum(count, count))


def test_sixteen_operands_are_refused() -> None:
    assert "16 operands" in _refused(_sum(16))


def test_a_sum_of_different_scales_is_refused() -> None:
    a, b = activation("a", (1, 2), 0.5), activation("b", (1, 2), 0.25)
    with pytest.raises(McucError, match="different shapes or scales"):
        tflite_graph("ADD_N", [a, b], activation("y", (1, 2)))


def test_c_in_all_tilings(tmp_path: Path) -> None:
    graphs = [_graph(kind, shapes, RNG(3), i % 4, const) for i, shapes in enumerate(SHAPES)
              for kind in ("SQUARED_DIFFERENCE", "DIV") for const in (None, 1)]
    graphs += [_sum(count, count) for count in (2, 3, 15)]
    check_c([g for g in graphs if not _refused(g)], tmp_path)
