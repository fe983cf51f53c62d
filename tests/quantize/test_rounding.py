"""Compensated rounding: the layer's outputs are closer than with the nearest integers; biases take out the mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcuc.ir import Array
from mcuc.quantize.model import FloatNode
from mcuc.quantize.params import nearest, weight_scale
from mcuc.quantize.roles import Weighted
from mcuc.quantize.rounding import bias_shift, by_taps, compensated, from_taps


def layer(kind: str, group: int = 1, axis: int = 0) -> Weighted:
    node = FloatNode("n", "Conv" if kind == "conv" else "Gemm", ("x", "w"), ("y",), {"group": group})
    return Weighted(node, kind, "w", "", axis)


def correlated(rng: np.random.Generator, taps: int, count: int = 400) -> Array:
    mixing = rng.normal(0, 1, (taps, taps)) * np.geomspace(1, 0.02, taps)
    return rng.normal(0.3, 1, (count, taps)) @ mixing.T


def output_error(real: Array, integers: Array, x: Array) -> float:
    return float((((integers - real) @ x.T) ** 2).mean())


@pytest.mark.parametrize("peak", (127, 7), ids=("int8", "int4"))
def test_outputs_are_closer_than_with_the_nearest_integers(peak: int) -> None:
    rng = np.random.default_rng(0)
    x, real = correlated(rng, 24), rng.normal(0, 1, (10, 24))
    plain = nearest(real, 0, weight_scale(real, 0, peak), peak)
    better = compensated(real, layer("conv"), plain, (x.T @ x / len(x))[None], peak)
    assert np.abs(better.values).max() <= peak
    assert output_error(real, better.real, x) < 0.5 * output_error(real, plain.real, x)


def test_without_correlation_the_nearest_integers_stay() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(0, 1, (6, 12))
    plain = nearest(real, 0, weight_scale(real, 0))
    assert np.array_equal(compensated(real, layer("conv"), plain, np.eye(12)[None]).values, plain.values)


def test_the_bias_takes_out_exactly_the_mean_error() -> None:
    rng = np.random.default_rng(2)
    x, real = rng.normal(0.7, 1, (300, 18)), rng.normal(0, 1, (4, 18))
    weights = nearest(real, 0, weight_scale(real, 0, 7), 7)
    shift = bias_shift(real, layer("conv"), weights, x.mean(0)[None])
    error = (x @ (weights.real - real).T).mean(0)
    assert np.allclose(error, shift) and np.abs(error).max() > 1e-3


@settings(max_examples=25)
@given(st.sampled_from(("conv", "dense")), st.sampled_from((1, 2, 4)), st.integers(0, 1))
def test_taps_and_back(kind: str, group: int, axis: int) -> None:
    shape = (8, 3, 3, 3) if kind == "conv" else (8, 5) if axis == 0 else (5, 8)
    one = layer(kind, group if kind == "conv" else 1, axis if kind == "dense" else 0)
    real = np.arange(np.prod(shape)).reshape(shape).astype(np.float64)
    assert np.array_equal(from_taps(by_taps(real, one), one, shape), real)
