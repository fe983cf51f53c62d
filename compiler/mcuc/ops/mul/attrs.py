"""The attributes of mul."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.ir import Requant


@dataclass(frozen=True)
class MulAttrs:
    """out = clamp(requant((a - zero_points[0]) * (b - zero_points[1])) + output_zero_point)."""

    zero_points: tuple[int, int]
    requant: Requant
    output_zero_point: int
    clamp: tuple[int, int] = (-128, 127)
