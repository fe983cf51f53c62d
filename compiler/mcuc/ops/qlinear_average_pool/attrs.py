"""The attributes of qlinear_average_pool."""

from __future__ import annotations

from dataclasses import dataclass

from mcuc.ops._spatial import Window


@dataclass(frozen=True)
class QLinearPoolAttrs:
    """All in float32: sum of (x - input_zero_point) * input_scale in row order, / count, / output_scale, + fixed.

    out = clamp(rounded half to even - output_offset); fixed is the file's output zero point. Padding adds nothing;
    it counts with count_include_pad.
    """

    window: Window
    input_scale: float
    input_zero_point: int
    output_scale: float
    fixed: int
    output_offset: int
    clamp: tuple[int, int] = (-128, 127)
    count_include_pad: bool = False
