"""MEAN over any axes agrees with TFLite Micro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, check_uint8, constant, tflite_graph

from mcuc.ir import Graph

AXES = [(1,), (2,), (3,), (1, 2), (2, 1), (1, 3), (2, 3), (1, 2, 3), (-1,), (-2, -3)]
SHAPES = [((1, 12, 5), (1,)), ((1, 9), (1,)), ((1, 4, 3, 2, 5), (1, 2, 3)), ((6, 4), (0,)), ((1, 1, 1, 8), (1, 2)),
          ((1, 2, 64, 3), (1, 2)), ((1, 96, 96, 1), (1, 2)), ((3, 4, 2, 5), (0, 2)), ((3, 4, 2, 5), (1, 3))]


def _graph(shape: tuple[int, ...], axes: tuple[int, ...], keep: bool, scales: tuple[float, ...],
           zero_points: tuple[int, ...]) -> Graph:
    reduced = {a % len(shape) for a in axes}
    out = tuple(1 if i in reduced else d for i, d in enumerate(shape) if keep or i not in reduced)
    axis = constant("axes", np.array(axes, np.int32))
    return tflite_graph("MEAN", [activation("x", shape, scales[0], zero_points[0]), axis],
                        activation("y", out, scales[1], zero_points[1]), keepDims=keep)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", AXES)
def test_axes(axes: tuple[int, ...], keep: bool) -> None:
    check_tflite(_graph((1, 5, 7, 6), axes, keep, (0.05, 0.03), (-7, 11)))


@pytest.mark.parametrize("shape,axes", SHAPES)
def test_shapes(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    check_tflite(_graph(shape, axes, False, (0.05, 0.05), (3, 3)))


@pytest.mark.parametrize("seed", range(25))
def test_random_scales(seed: int) -> None:
    rng = RNG(seed)
    scales = tuple(float(s) for s in 2.0 ** rng.uniform(-8, 3, 2))
    zero_points = tuple(int(z) for z in rng.integers(-128, 128, 2))
    h, w, c = (int(n) for n in rng.integers(1, 12, 3))
    check_tflite(_graph((1, h, w, c), (1, 2), bool(seed % 2), scales, zero_points), seed=seed)


@pytest.mark.parametrize("seed", range(12))
def test_uint8(seed: int) -> None:
    rng = RNG(seed)
    scales = tuple(float(s) for s in 2.0 ** rng.uniform(-6, -3, 2))
    zero_points = tuple(int(z) for z in rng.integers(-128, 128, 2))
    check_uint8(_graph((1, 5, 7, 6), AXES[seed % len(AXES)], bool(seed % 2), scales, zero_points), seed=seed)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([_graph((1, 5, 7, 6), axes, False, (0.05, 0.03), (-7, 11)) for axes in AXES]
            + [_graph(shape, axes, True, (0.05, 0.05), (3, 3)) for shape, axes in SHAPES], tmp_path)
