"""The attributes of mean."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.ir import Requant


@dataclass(frozen=True)
class MeanAttrs:
    """out = clamp(requant(sum over axes of (x - input_zero_point)) + output_zero_point); requant holds 1 / count.

    axes: sorted, not negative.
    """

    axes: tuple[int, ...]
    keep_dims: bool
    requant: Requant
    input_zero_point: int
    output_zero_point: int
    clamp: tuple[int, int] = (-128, 127)
