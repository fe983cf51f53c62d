"""Scales, zero points and integers: zero is exact, weights cover their peak."""

from __future__ import annotations

import numpy as np
import pytest

from mcuc.quantize.params import activation_quant, nearest, weight_scale
from mcuc.quantize.ranges import Range


@pytest.mark.parametrize(("low", "high", "zero_point"), [(0.0, 2.55, -128), (-2.55, 0.0, 127), (-1.0, 1.0, -1)])
def test_zero_is_exact(low: float, high: float, zero_point: int) -> None:
    quant = activation_quant(Range(low, high))
    assert abs(quant.zero_point[0] - zero_point) <= 1
    assert np.float32(quant.scale[0]) == quant.scale[0]  # a file stores float32


def test_weights_are_symmetric_per_channel_and_cover_their_peak() -> None:
    real = np.random.default_rng(0).normal(0, 1, (3, 3, 3, 2)).astype(np.float32)
    real[1] = 0
    found = nearest(real, 0, weight_scale(real, 0))
    assert np.abs(found.values[0]).max() == np.abs(found.values[2]).max() == 127 and not found.values[1].any()
    assert np.all(np.abs(found.real - real) <= found.scale.reshape(-1, 1, 1, 1) / 2 + 1e-6)
