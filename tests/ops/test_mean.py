"""MEAN over any axes agrees with TFLite Micro."""

from __future__ import annotations

import numpy as np
import pytest
from harness import RNG, activation, check_tflite, constant, tflite_graph


def _check(shape: tuple[int, ...], axes: tuple[int, ...], keep: bool, scales: tuple[float, float] = (0.05, 0.05),
           zero_points: tuple[int, int] = (3, 3), seed: int = 0) -> None:
    kept = tuple(1 if i in {a % len(shape) for a in axes} else d for i, d in enumerate(shape))
    out = kept if keep else tuple(d for i, d in enumerate(shape) if i not in {a % len(shape) for a in axes})
    axis = constant("axes", np.array(axes, np.int32))
    check_tflite(tflite_graph("MEAN", [activation("x", shape, scales[0], zero_points[0]), axis],
                              activation("y", out, scales[1], zero_points[1]), keepDims=keep), seed=seed)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (2, 1), (1, 3), (2, 3), (1, 2, 3), (-1,), (-2, -3)])
def test_axes(axes: tuple[int, ...], keep: bool) -> None:
    _check((1, 5, 7, 6), axes, keep, (0.05, 0.03), (-7, 11))


@pytest.mark.parametrize("shape,axes", [((1, 12, 5), (1,)), ((1, 9), (1,)), ((1, 4, 3, 2, 5), (1, 2, 3)), ((6, 4), (0,)),
                                        ((1, 1, 1, 8), (1, 2)), ((1, 2, 64, 3), (1, 2)), ((1, 96, 96, 1), (1, 2))])
def test_shapes(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    _check(shape, axes, False)


@pytest.mark.parametrize("seed", range(25))
def test_random_scales(seed: int) -> None:
    rng = RNG(seed)
    scales = tuple(float(s) for s in 2.0 ** rng.uniform(-8, 3, 2))
    zero_points = tuple(int(z) for z in rng.integers(-128, 128, 2))
    h, w, c = (int(n) for n in rng.integers(1, 12, 3))
    _check((1, h, w, c), (1, 2), bool(seed % 2), scales, zero_points, seed)
