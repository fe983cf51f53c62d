"""The attributes of qlinear_softmax."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QLinearSoftmaxAttrs:
    """out = clamp(rint(e * factor / sum of e) + zero_point) in float32, e = table[255 - max + x] (256 entries)."""

    table: tuple[float, ...]
    factor: float
    zero_point: int
