"""Ranges: 0 is always exact, each method does what it promises on histograms that can be reasoned about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcuc.quantize.ranges import METHODS, STEPS, Method, Range, chosen


def histogram(values: np.ndarray, bins: int = 2048) -> tuple[np.ndarray, float, float]:
    low, high = float(values.min()), float(values.max())
    return np.histogram(values, bins, (low, high))[0], low, high


def squared_error(values: np.ndarray, r: Range) -> float:
    scale = (r.high - r.low) / STEPS
    rounded = r.low + np.rint((np.clip(values, r.low, r.high) - r.low) / scale) * scale
    return float(((rounded - values) ** 2).mean())


@pytest.mark.parametrize("method", METHODS)
@given(st.floats(-50, 50), st.floats(0.01, 40), st.integers(0, 2**32 - 1))
def test_a_range_holds_zero_and_never_exceeds_what_was_seen(
    method: Method, centre: float, spread: float, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(centre, spread, 500)
    counts, low, high = histogram(values, 256)
    found = chosen(counts, low, high, method)
    assert found.low <= 0 <= found.high
    assert min(low, 0) - 1e-9 <= found.low and found.high <= max(high, 0) + 1e-9


def test_minmax_covers_everything() -> None:
    assert chosen(*histogram(np.array([-3.0, 0.5, 7.0])), "minmax") == Range(-3.0, 7.0)


def test_percentile_leaves_out_one_value_in_ten_thousand() -> None:
    values = np.concatenate([np.linspace(0, 1, 99_999), [50.0]])
    found = chosen(*histogram(values), "percentile")
    assert found.low == 0 and 0.9 < found.high < 2


@pytest.mark.parametrize("method", ("mse", "entropy"))
def test_outliers_are_clipped_where_that_pays(method: Method) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 200_000), [40.0]])
    found = chosen(*histogram(values), method)
    whole = Range(float(values.min()), 40.0)
    assert found.high < 35 and squared_error(values[:-1], found) < 0.8 * squared_error(values[:-1], whole)
    assert method != "mse" or squared_error(values, found) < squared_error(values, whole)


def test_mse_is_no_worse_than_minmax_on_any_shape() -> None:
    rng = np.random.default_rng(1)
    for values in (rng.uniform(-1, 3, 5000), rng.laplace(0, 1, 5000), np.maximum(rng.normal(0, 1, 5000), 0)):
        mse, whole = (chosen(*histogram(values), m) for m in ("mse", "minmax"))
        assert squared_error(values, mse) <= squared_error(values, whole) * 1.02


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_value_has_a_range_too(method: Method) -> None:
    assert chosen(np.array([5, 0]), 0.0, 0.0, method) == Range(0.0, 0.0)
