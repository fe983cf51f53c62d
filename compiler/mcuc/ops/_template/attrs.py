"""The attributes of absolute value. In a file of their own, so that the format files can build them."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.ir import Requant


@dataclass(frozen=True)
class AbsoluteAttrs:
    """out = clamp(requant(|x - input_zero_point|) + output_zero_point), as int8.

    All that the node computes stands here, as integers: zero points, rounding rule and constants, clamps. Never read a
    tensor's scale after import: it is metadata. Frozen and made of plain values, so that equal nodes compare equal.
    """

    input_zero_point: int
    output_zero_point: int
    requant: Requant
