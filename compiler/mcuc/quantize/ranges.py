"""From histograms of a value to the range that its integers cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mcuc.ir import Array

Method = Literal["minmax", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
STEPS = 255  # between the least and the largest int8
PERCENTILE = 0.9999
SHRINKS = np.linspace(0.3, 1.0, 71)  # shares of the whole range that mse and entropy try
TINY = 1e-12


@dataclass(frozen=True)
class Range:
    """The real values that the integers are to cover; low <= 0 <= high, so that 0 is exact."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        """The range that covers both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


def chosen(counts: Array, low: float, high: float, method: Method, steps: int = STEPS) -> Range:
    """The range for a value whose histogram over [low, high] is counts [bins]; steps: of the integers.

    minmax: all of it. percentile: 0.01 % of the values may be clipped. mse: the least squared error of rounding and
    clipping. entropy: the least Kullback-Leibler divergence of the quantized histogram (Migacz 2017, "8-bit inference
    with TensorRT"), ends shrunk together.
    """
    whole = Range(min(0.0, float(low)), max(0.0, float(high)))
    if method == "minmax" or whole.high - whole.low < TINY or not counts.any():
        return whole
    edges = np.linspace(low, high, len(counts) + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    if method == "percentile":
        share = np.cumsum(counts) / counts.sum()
        first, last = int(np.searchsorted(share, 1 - PERCENTILE)), int(np.searchsorted(share, PERCENTILE))
        return Range(min(0.0, float(edges[first])), max(0.0, float(edges[min(last + 1, len(counts))])))
    loss = _squared if method == "mse" else _divergence
    tried = [Range(whole.low * a, whole.high * b) for a, b in _shrunk(whole)]
    return min(tried, key=lambda r: loss(counts, centres, r, steps))


def _shrunk(whole: Range) -> list[tuple[float, float]]:
    """Shares of both ends: together, and each alone."""
    both = [(s, s) for s in SHRINKS]
    if whole.low < 0 < whole.high:
        both += [(s, 1.0) for s in SHRINKS] + [(1.0, s) for s in SHRINKS]
    return both


def _squared(counts: Array, centres: Array, r: Range, steps: int) -> float:
    """Squared error; within a step the error is uniform where a bin is no finer than the step."""
    scale = (r.high - r.low) / steps
    inside = np.clip(centres, r.low, r.high)
    rounded = r.low + np.rint((inside - r.low) / scale) * scale
    width = (centres[1] - centres[0]) if len(centres) > 1 else 0.0
    spread = min(scale, width) ** 2 / 12  # what a bin's own width adds
    return float((counts * ((rounded - centres) ** 2 + spread)).sum())


def _divergence(counts: Array, centres: Array, r: Range, steps: int) -> float:
    """Of the values, clipped ones at the ends, from what rounding to steps makes of them."""
    scale = (r.high - r.low) / steps
    p = np.where(np.abs(centres) < scale / 2, 0, counts).astype(np.float64)  # zeros behind a ReLU outweigh all else
    level = np.clip(np.rint((centres - r.low) / scale), 0, steps).astype(np.int64)
    inside = (centres >= r.low) & (centres <= r.high)
    if not inside.any():
        return float("inf")
    kept = np.where(inside, p, 0.0)
    filled = np.bincount(level, weights=kept, minlength=steps + 1)
    bins = np.bincount(level, weights=(inside & (p > 0)).astype(np.float64), minlength=steps + 1)
    q = np.where(inside & (p > 0), (filled / np.maximum(bins, 1))[level], 0.0)
    if not p[inside].any():
        return float("inf")
    clipped = p.copy()
    first, last = int(np.flatnonzero(inside)[0]), int(np.flatnonzero(inside)[-1])
    clipped[first] += p[:first].sum()
    clipped[last] += p[last + 1 :].sum()
    clipped[:first], clipped[last + 1 :] = 0.0, 0.0
    seen = (clipped > 0) & (q > 0)
    lost = clipped[(clipped > 0) & (q <= 0)].sum() / clipped.sum()
    a, b = clipped / clipped.sum(), q / max(q.sum(), TINY)
    return float((a[seen] * np.log(a[seen] / b[seen])).sum() + lost)
