"""The attributes of qlinear_add."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QLinearAddAttrs:
    """In units of 2^-fraction: t = round24(fixed + (second + offset) * multiplier), r likewise from t with the first.

    out = clamp(r / 2^fraction, half to even, - output_offset). first: which operand (0 or 1) is added last; round24
    keeps 24 significant bits as float32 does. multipliers, offsets: of operand 0 and 1.
    """

    multipliers: tuple[int, int]
    offsets: tuple[int, int]
    fixed: int
    fraction: int
    first: int
    output_offset: int
    clamp: tuple[int, int] = (-128, 127)
