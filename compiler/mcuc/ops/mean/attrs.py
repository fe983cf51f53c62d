"""The attributes of mean."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt

from mcuc.ir import Requant, Tensor


@dataclass(frozen=True)
class MeanAttrs:
    """out = clamp(requant(sum over axes of (x - input_zero_point)) + output_zero_point); requant holds
    1 / count of a mean, not of a sum.

    axes: sorted, not negative.
    """

    axes: tuple[int, ...]
    keep_dims: bool
    requant: Requant
    input_zero_point: int
    output_zero_point: int
    clamp: tuple[int, int] = (-128, 127)


def is_sum(attrs: MeanAttrs, x: Tensor, out: Tensor) -> bool:
    """The factor is nearer to that of a sum than to that of a mean (over one element they are the same: a mean)."""
    assert x.quant is not None and out.quant is not None
    r, count = attrs.requant, prod(x.shape[a] for a in attrs.axes)
    factor = r.scale[0] if r.scale else r.multiplier[0] * 2.0 ** (r.shift[0] - 31)
    return count > 1 and factor * sqrt(count) > x.quant.scale[0] / out.quant.scale[0]
