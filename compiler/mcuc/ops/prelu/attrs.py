"""The attributes of prelu."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.ir import Requant


@dataclass(frozen=True)
class PReluAttrs:
    """v = x - zero_points[0]: above(v) where v >= 0, else below(v * (alpha - zero_points[1])); plus output_zero_point,
    clamped."""

    zero_points: tuple[int, int]
    above: Requant
    below: Requant
    output_zero_point: int
    clamp: tuple[int, int]
