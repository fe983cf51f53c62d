"""ADD, SUB and MUL with every broadcast agree with TFLite Micro."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, check_uint8, constant, tflite_graph

from mcuc import ops
from mcuc.ir import Graph, Tensor

SHAPES = [
    ((1, 4, 5, 6), (1, 4, 5, 6)),
    ((1, 4, 5, 6), (1, 1, 1, 6)),
    ((1, 4, 5, 6), (1, 4, 1, 6)),
    ((1, 4, 5, 6), (1, 1, 5, 6)),
    ((1, 4, 5, 6), (1, 4, 5, 1)),
    ((1, 4, 1, 6), (1, 4, 5, 6)),
    ((1, 1, 5, 6), (1, 4, 1, 6)),
    ((1, 4, 5, 6), (6,)),
    ((1, 4, 5, 6), (1,)),
    ((1, 4, 5, 6), ()),
    ((1, 8), (1, 8)),
    ((1, 3, 8), (3, 8)),
]


def _random(kind: str, shapes: tuple, rng: Any, fused: int = 0, const: int | None = None) -> Graph:
    def operand(name: str, k: int) -> Tensor:
        scale, zero = float(2.0 ** rng.uniform(-8, -2)), int(rng.integers(-128, 128))
        if const == k:
            return constant(name, rng.integers(-128, 128, shapes[k]).astype(np.int8), (scale,), (zero,))
        return activation(name, shapes[k], scale, zero)

    out = np.broadcast_shapes(*shapes)
    y = activation("y", out, float(2.0 ** rng.uniform(-6, -2)), int(rng.integers(-128, 128)))
    return tflite_graph(kind, [operand("a", 0), operand("b", 1)], y, fusedActivationFunction=fused)


def _refused(graph: Graph) -> str:
    node = graph.nodes[0]
    return "; ".join(filter(None, (limit(node, graph) for limit in ops.get(node.op).limits)))


@pytest.mark.parametrize("const", [None, 0, 1])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["ADD", "MUL", "SUB"])
def test_broadcast(kind: str, shapes: tuple, const: int | None) -> None:
    check_tflite(_random(kind, shapes, RNG(7), 0, const))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["ADD", "MUL", "SUB"])
def test_random_scales(kind: str, seed: int) -> None:
    check_tflite(_random(kind, ((1, 8, 8, 16), (1, 8, 8, 16)), RNG(seed), seed % 4), seed=seed)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["ADD", "MUL", "SUB"])
def test_uint8(kind: str, seed: int) -> None:
    check_uint8(_random(kind, SHAPES[seed], RNG(seed), seed % 4), seed=seed)


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
def test_equal_scales(kind: str) -> None:
    a, b, y = (activation(n, (1, 8, 8, 16), 0.02, z) for n, z in (("a", 1), ("b", -4), ("y", 9)))
    check_tflite(tflite_graph(kind, [a, b], y))


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
def test_one_tensor_twice(kind: str) -> None:
    a = activation("a", (1, 4, 4, 8), 0.02, 5)
    check_tflite(tflite_graph(kind, [a, a], activation("y", (1, 4, 4, 8), 0.05, -3)))


def test_c_in_all_tilings(tmp_path: Path) -> None:
    rng = RNG(3)
    graphs = [_random(kind, shapes, rng, i % 4, const) for i, shapes in enumerate(SHAPES)
              for kind in ("ADD", "MUL", "SUB") for const in (None, 1)]
    check_c([g for g in graphs if not _refused(g)], tmp_path)


def test_c_constant_first(tmp_path: Path) -> None:
    check_c([_random(kind, shapes, RNG(5), 0, 0) for shapes in (SHAPES[0], SHAPES[1], SHAPES[5], SHAPES[8][::-1])
             for kind in ("ADD", "SUB")], tmp_path)


def test_small_operand_spread_over_a_constant_is_refused() -> None:
    graph = _random("ADD", ((1, 4, 5, 6), (1, 4, 1, 6)), RNG(1), 0, 0)
    assert "(1, 4, 1, 6)" in _refused(graph)
