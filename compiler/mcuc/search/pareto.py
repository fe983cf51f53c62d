"""Costs, limits and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from mcuc.search.space import Candidate


@dataclass(frozen=True)
class Cost:
    """What a candidate takes on the board: bytes and milliseconds of one inference."""

    sram_bytes: int
    flash_bytes: int
    latency_ms: float


@dataclass(frozen=True)
class Constraints:
    """Upper limits; None for no limit."""

    sram_bytes: int | None = None
    flash_bytes: int | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Evaluated:
    """A candidate with its cost and its accuracy on the validation images, with the supernet's weights."""

    candidate: Candidate
    accuracy: float
    cost: Cost


def fits(cost: Cost, limits: Constraints) -> bool:
    """Whether no limit is exceeded."""
    return ((limits.sram_bytes is None or cost.sram_bytes <= limits.sram_bytes)
            and (limits.flash_bytes is None or cost.flash_bytes <= limits.flash_bytes)
            and (limits.latency_ms is None or cost.latency_ms <= limits.latency_ms))


def dominates(a: Evaluated, b: Evaluated) -> bool:
    """a is no worse in accuracy, latency and SRAM, and better in one of them."""
    ours, theirs = _objectives(a), _objectives(b)
    return ours != theirs and all(x <= y for x, y in zip(ours, theirs, strict=True))


def front(found: Sequence[Evaluated]) -> tuple[Evaluated, ...]:
    """The candidates that none dominates, fastest first; of equals the first by key."""
    ranked = sorted(found, key=lambda e: (*_objectives(e), e.candidate.key))
    kept: list[Evaluated] = []
    for one in ranked:
        if not any(dominates(k, one) or _objectives(k) == _objectives(one) for k in kept):
            kept.append(one)
    return tuple(sorted(kept, key=lambda e: (e.cost.latency_ms, e.cost.sram_bytes, e.candidate.key)))


def choose(found: Sequence[Evaluated], images: int, tolerance: float) -> Evaluated:
    """The fastest candidate whose accuracy is within tolerance standard errors of the best.

    images: how many validation images the accuracies come from. Standard error of a share p: sqrt(p (1 - p) / images).
    """
    best = max(e.accuracy for e in found)
    close = [e for e in found if e.accuracy >= best - tolerance * sqrt(best * (1 - best) / images)]
    return min(close, key=lambda e: (e.cost.latency_ms, e.cost.sram_bytes, -e.accuracy, e.candidate.key))


def _objectives(e: Evaluated) -> tuple[float, float, float]:
    return -e.accuracy, e.cost.latency_ms, float(e.cost.sram_bytes)
