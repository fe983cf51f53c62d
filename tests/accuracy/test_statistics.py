"""Areas, intervals and thresholds: against their definitions, published tables, and how often an interval is right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mcuc.accuracy import statistics
from mcuc.accuracy.statistics import Interval
from mcuc.ir import Array

COARSE = 12  # steps of a score, so that many are equal


def pairs(scores: Array, positive: Array) -> Array:
    """The kernel of DeLong's paper: for every positive and negative 1, a half where they are equal, or 0."""
    x, y = scores[positive][:, None], scores[~positive][None, :]
    return (x > y) + 0.5 * (x == y)


def scored(seed: int, count: int = 60) -> tuple[Array, Array, Array]:
    """Two correlated scores with ties, and labels."""
    rng = np.random.default_rng(seed)
    positive = rng.random(count) < 0.4
    common = rng.normal(size=count) + positive
    first, second = (np.round(common + rng.normal(0, s, count) * COARSE / 4) / COARSE for s in (0.3, 0.5))
    return first, second, positive


def test_an_area_is_the_share_of_pairs_in_order() -> None:
    for seed in range(5):
        first, _, positive = scored(seed)
        assert statistics.auc(first, positive) == pytest.approx(pairs(first, positive).mean(), abs=1e-12)
    assert statistics.auc(first, np.ones(60, np.bool_)) is None


def test_the_interval_of_areas_is_delong_s() -> None:
    """His equations (4) to (8), from the kernel itself."""
    first, second, positive = scored(3)
    a, b = pairs(first, positive), pairs(second, positive)
    s10, s01 = np.cov(a.mean(1), b.mean(1)), np.cov(a.mean(0), b.mean(0))
    s = s10 / len(a) + s01 / a.shape[1]
    half = 1.959964 * (s[0, 0] + s[1, 1] - 2 * s[0, 1]) ** 0.5
    found = statistics.auc_difference(first, second, positive)
    assert found == pytest.approx((b.mean() - a.mean() - half, b.mean() - a.mean() + half), abs=1e-9)
    assert statistics.auc_difference(first, first * 2, positive) is None  # the same order


@pytest.mark.parametrize(("freedom", "published"), [(4, 2.7764), (9, 2.2622), (29, 2.0452), (100, 1.9840)])
def test_student_s_quantile_is_the_published_one(freedom: int, published: float) -> None:
    assert statistics.student(freedom) == pytest.approx(published, abs=1e-3)


def areas(rng: np.random.Generator) -> Interval | None:
    positive = np.arange(120) < 50
    common = rng.normal(size=120) + positive  # both scores have the same true area
    return statistics.auc_difference(common + rng.normal(size=120), common + rng.normal(size=120), positive)


def means(rng: np.random.Generator) -> Interval | None:
    return statistics.mean_difference(rng.exponential(size=40) - 1)


def roots(rng: np.random.Generator) -> Interval | None:
    common = rng.normal(size=150)
    return statistics.rms_difference((common + rng.normal(size=150)) ** 2, (common + rng.normal(size=150)) ** 2)


@pytest.mark.parametrize("draw", [areas, means, roots])
def test_intervals_hold_the_truth_as_often_as_they_say(draw: Callable[[np.random.Generator], Interval | None]) -> None:
    """600 seeded experiments in which the true difference is 0; 95 % within four standard errors."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(600):
        found = draw(rng)
        assert found is not None
        held += found[0] <= 0 <= found[1]
    assert 0.91 <= held / 600 <= 0.985


def test_no_interval_without_evidence() -> None:
    assert statistics.mean_difference(np.zeros(50)) is None
    assert statistics.mean_difference(np.array([1.0, 2.0, 3.0, 4.0])) is None
    assert statistics.auc_difference(np.arange(8.0), -np.arange(8.0), np.arange(8) < 4) is None
    assert statistics.rms_difference(np.zeros(9), np.ones(9)) is None


def test_the_threshold_parts_best() -> None:
    for seed in range(5):
        scores, _, positive = scored(seed, 30)
        found = statistics.youden(scores, positive)
        assert found is not None

        def gain(at: float, scores: Array = scores, positive: Array = positive) -> float:
            return float((scores[positive] > at).mean() + (scores[~positive] <= at).mean())

        assert gain(found) == pytest.approx(max(gain(t) for t in (*scores, scores.min() - 1)))
    assert statistics.youden(scores, np.zeros(30, np.bool_)) is None
