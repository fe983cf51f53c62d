"""The attributes of a bilinear resize."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where an output row or column comes from: input rows or columns first and second (first or the one behind it) and
    their weights, which add up to 1."""

    first: int
    second: int
    weights: tuple[float, float]


@dataclass(frozen=True)
class BilinearAttrs:
    """rows, columns: of each output position. float32: weights are float32 numbers, else integers of 1/1024.

    shift: what is subtracted before and added after, where the file's integers are uint8.
    """

    rows: tuple[Place, ...]
    columns: tuple[Place, ...]
    float32: bool = False
    shift: int = 0
