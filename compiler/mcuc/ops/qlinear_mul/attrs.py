"""The attributes of qlinear_mul."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QLinearMulAttrs:
    """In units of 2^-fraction: p = round24((a - za) * (b - zb) * multiplier), r = round24(p + fixed).

    out = clamp(r / 2^fraction, half to even, - output_offset); fixed is the file's output zero point.
    """

    zero_points: tuple[int, int]
    multiplier: int
    fixed: int
    fraction: int
    output_offset: int
    clamp: tuple[int, int] = (-128, 127)
