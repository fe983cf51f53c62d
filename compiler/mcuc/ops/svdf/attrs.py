"""The attributes of a singular value decomposition filter, as integers."""

from __future__ import annotations

from dataclasses import dataclass

Scale = tuple[int, int]  # Q31 multiplier and shift, numerics.multiply_by_quantized_multiplier


@dataclass(frozen=True)
class SvdfAttrs:
    """Each of units * rank filters has a memory of its last features: feature = clamp(features . (x - input_zero_point)
    by `feature`). A unit's output is clamp((bias + the sum over its rank filters of time . memory) by `out` +
    output_zero_point); that sum is taken modulo 2^32."""

    rank: int
    input_zero_point: int
    output_zero_point: int
    feature: Scale
    out: Scale
