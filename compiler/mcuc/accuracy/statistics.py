"""Two networks over the same samples, compared in pairs: intervals of the difference, all in closed form.

Fractions right: Agresti and Min 2005 (mcuc.report.paired). Areas under the ROC curve: DeLong, DeLong and
Clarke-Pearson 1988, "Comparing the areas under two or more correlated receiver operating characteristic curves".
Errors: Student's t over the paired differences.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from mcuc.ir import Array
from mcuc.report.paired import Z

Interval = tuple[float, float]
FEWEST = 5  # samples of a kind below which no interval is given


def midranks(x: Array) -> Array:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def components(scores: Array, positive: Array) -> tuple[Array, Array]:
    """DeLong's structural components of one area: for each positive the share of negatives that score less (equal
    ones half), for each negative the share of positives that score more. scores float [n], positive bool [n].

    From midranks, as Sun and Xu 2014 ("Fast implementation of DeLong's algorithm").
    """
    m, n = int(positive.sum()), int((~positive).sum())
    together = midranks(scores)
    above = (together[positive] - midranks(scores[positive])) / n
    below = 1 - (together[~positive] - midranks(scores[~positive])) / m
    return above, below


def auc(scores: Array, positive: Array) -> float | None:
    """Area under the ROC curve; None where one of the classes is missing."""
    if not positive.any() or positive.all():
        return None
    return float(components(scores, positive)[0].mean())


def auc_difference(first: Array, second: Array, positive: Array) -> Interval | None:
    """95 % interval of second's area minus first's, scores float [n] of both.

    None with fewer than FEWEST samples of a class, and where the variance that DeLong estimates is 0: no pair of
    samples is ordered differently, which is no proof that none would be.
    """
    if min(int(positive.sum()), int((~positive).sum())) < FEWEST:
        return None
    (a, b), (c, d) = components(first, positive), components(second, positive)
    variance = float(np.var(c - a, ddof=1)) / len(a) + float(np.var(d - b, ddof=1)) / len(b)
    if variance <= 0:
        return None
    middle, half = float(c.mean() - a.mean()), Z * sqrt(variance)
    return max(-1.0, middle - half), min(1.0, middle + half)


def mean_difference(gaps: Array) -> Interval | None:
    """95 % interval of the mean of paired differences [n]; None for fewer than FEWEST or where all are equal."""
    if len(gaps) < FEWEST:
        return None
    spread = float(np.std(gaps, ddof=1))
    if spread == 0:
        return None
    half = student(len(gaps) - 1) * spread / sqrt(len(gaps))
    return float(gaps.mean()) - half, float(gaps.mean()) + half


def rms_difference(first: Array, second: Array) -> Interval | None:
    """95 % interval of second's root of the mean minus first's, from squared errors [n] of both: linearised (delta
    method), sqrt(mean s) moving by s / (2 sqrt(mean s)) with each sample."""
    a, b = sqrt(float(first.mean())), sqrt(float(second.mean()))
    if a == 0 or b == 0:
        return None
    found = mean_difference(second / (2 * b) - first / (2 * a))
    middle = (b - a) / 2  # the mean of those terms; the root's difference is twice that
    return None if found is None else (found[0] + middle, found[1] + middle)


def kendall(first: Array, second: Array) -> float | None:
    """Kendall's tau-b of two rankings of the same things [n], ties taken into account (Kendall 1945); None where one
    of them ranks nothing (all equal)."""
    pairs = np.triu_indices(len(first), 1)
    a, b = (np.sign(x[:, None] - x[None, :])[pairs] for x in (np.asarray(first), np.asarray(second)))
    scale = sqrt(float((a != 0).sum()) * float((b != 0).sum()))
    return None if scale == 0 else float((a * b).sum()) / scale


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5; within 0.001 from 4 degrees of freedom on)."""
    x, v = Z, float(freedom)
    return (
        x
        + (x**3 + x) / (4 * v)
        + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * v**2)
        + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * v**3)
        + (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / (92160 * v**4)
    )


def youden(scores: Array, positive: Array) -> float | None:
    """The threshold, halfway between two scores, above which a sample is called positive so that the shares of
    positives and of negatives that are called right are largest in sum (Youden 1950); the lowest of equal ones.

    None where one of the classes is missing.
    """
    if not positive.any() or positive.all():
        return None
    values, inverse = np.unique(scores, return_inverse=True)
    ones = np.bincount(inverse, weights=positive, minlength=len(values))
    zeros = np.bincount(inverse, weights=~positive, minlength=len(values))
    # index i: the first i values are called negative
    gain = np.concatenate([[0.0], np.cumsum(zeros / zeros.sum() - ones / ones.sum())])
    i = int(np.argmax(gain))
    if i == 0:
        return float(np.nextafter(values[0], -np.inf))
    return float(values[i - 1] + values[i]) / 2 if i < len(values) else float(values[-1])
