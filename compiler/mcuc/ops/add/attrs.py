"""The attributes of add."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.ir import Requant

LEFT_SHIFT = 20  # headroom that TFLite gives the inputs before rescaling them


@dataclass(frozen=True)
class AddAttrs:
    """out = clamp(requant(A ± B) + output_zero_point), A = requants[0]((a - zero_points[0]) * 2^20), B likewise."""

    zero_points: tuple[int, int]
    requants: tuple[Requant, Requant]
    requant: Requant
    output_zero_point: int
    clamp: tuple[int, int] = (-128, 127)
    subtract: bool = False
