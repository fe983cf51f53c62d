"""The attributes of a bilinear resize."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.ops._resize import Real


@dataclass(frozen=True)
class Place:
    """Where an output row or column comes from: input rows or columns first and second (first or the one behind it) and
    their weights, which add up to 1."""

    first: int
    second: int
    weights: tuple[float, float]


@dataclass(frozen=True)
class BilinearAttrs:
    """rows, columns: of each output position. real: None where weights are integers, in 1/1024, and work on the
    quantized values."""

    rows: tuple[Place, ...]
    columns: tuple[Place, ...]
    real: Real | None = None
