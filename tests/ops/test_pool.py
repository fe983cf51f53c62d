"""Average and max pooling agree with TFLite Micro, uint8 ones with LiteRT's reference kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, check_uint8, tflite_graph

from mcuc import ops
from mcuc.ir import Graph, Node, check
from mcuc.ops._pool import PoolAttrs
from mcuc.ops._spatial import Window

SAME, VALID = 0, 1
# input h, w, c; kernel h, w; stride h, w; padding; fused activation
CASES = [
    ((8, 8, 4), (2, 2), (2, 2), VALID, 0),
    ((7, 9, 3), (3, 3), (2, 2), SAME, 0),
    ((8, 6, 5), (3, 3), (2, 2), SAME, 1),
    ((5, 5, 1), (3, 2), (1, 1), SAME, 3),
    ((25, 5, 6), (25, 5), (25, 5), VALID, 0),
    ((3, 3, 2), (5, 5), (1, 1), SAME, 2),
    ((1, 1, 7), (1, 1), (1, 1), VALID, 0),
    ((6, 1, 2), (4, 1), (3, 1), SAME, 0),
    ((9, 4, 3), (2, 3), (3, 2), SAME, 0),
]


def _graph(kind: str, case: tuple, zero_point: int = -3, scale: float = 0.05) -> Graph:
    (h, w, c), kernel, stride, padding, fused = case
    oh, ow = ((-(-n // s) if padding == SAME else (n - k) // s + 1)
              for n, k, s in zip((h, w), kernel, stride, strict=True))
    return tflite_graph(kind, [activation("x", (1, h, w, c), scale, zero_point)],
                        activation("y", (1, oh, ow, c), scale, zero_point), filterHeight=kernel[0],
                        filterWidth=kernel[1], strideH=stride[0], strideW=stride[1], padding=padding,
                        fusedActivationFunction=fused)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pool(kind: str, case: tuple) -> None:
    check_tflite(_graph(kind, case))


@pytest.mark.parametrize("case", CASES[:6], ids=str)
@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_uint8_pool_rounds_in_its_own_domain(kind: str, case: tuple) -> None:
    check_uint8(_graph(kind, case))


def random_case(seed: int) -> tuple:
    """Any geometry whose window fits."""
    rng = RNG(seed)
    h, w, c, kh, kw = (int(v) for v in rng.integers(1, [12, 12, 7, 5, 5]))
    padding = SAME if kh > h or kw > w else int(rng.integers(2))
    return (h, w, c), (kh, kw), (int(rng.integers(1, 4)), int(rng.integers(1, 4))), padding, int(rng.integers(4))


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_random_geometry(kind: str, seed: int) -> None:
    check_tflite(_graph(kind, random_case(seed)), seed=seed)


@pytest.mark.parametrize("zero_point", [-128, 127])
def test_extreme_zero_points(zero_point: int) -> None:
    check_tflite(_graph("AVERAGE_POOL_2D", CASES[1], zero_point))


def test_c_in_all_tilings(tmp_path: Path) -> None:
    graphs = [_graph(kind, case) for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D") for case in CASES]
    unsigned = [check_uint8(_graph("AVERAGE_POOL_2D", case)) for case in CASES[:4]]
    random = [_graph(kind, random_case(seed)) for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D") for seed in range(10)]
    check_c([*graphs, *unsigned, *random], tmp_path)


def test_c_padding_that_counts_and_dilation(tmp_path: Path) -> None:
    """What ONNX has and TFLite has not: the C against the reference."""
    window = Window((3, 2), (2, 1), (1, 1), (1, 1, 1, 0))
    cases = [("average_pool_2d", PoolAttrs(window, count_include_pad=True, pad_value=z)) for z in (0, -128, 60)]
    cases += [("max_pool_2d", PoolAttrs(Window((2, 3), (1, 2), (2, 3), (1, 2, 1, 2)), clamp=(-50, 90)))]
    graphs = []
    for op, attrs in cases:
        oh, ow = attrs.window.output(8, 9)
        ends = {"x": activation("x", (1, 8, 9, 5)), "y": activation("y", (1, oh, ow, 5))}
        graphs.append(check(Graph("case", "onnx", ends, (Node("n", op, ("x",), ("y",), attrs),), ("x",), ("y",))))
    check_c(graphs, tmp_path)


def test_average_that_counts_padding() -> None:
    """By hand: a row 4 8 between padding worth 10, windows of 2."""
    attrs = PoolAttrs(Window((1, 2), (1, 1), (1, 1), (0, 1, 0, 1)), count_include_pad=True, pad_value=10)
    (found,) = ops.get("average_pool_2d").reference(attrs, [np.array([[[[4], [8]]]], np.int8)])
    assert found.reshape(-1).tolist() == [7, 6, 9]
