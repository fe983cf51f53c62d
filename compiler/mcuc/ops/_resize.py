"""What the resizes of ONNX share, which the runtime computes in float32 between two quantizations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc.ir import Array
from mcuc.kernels._base import Table
from mcuc.ops._base import Imported, scale_of, zero_point_of
from mcuc.ops._onnx import clamp_of
from mcuc.ops.qlinear_average_pool import bits


@dataclass(frozen=True)
class Real:
    """Weights and values are float32: (q - input_zero_point) * input_scale in, and out divided by output_scale, rounded
    half to even, + output_zero_point, clamped."""

    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int
    clamp: tuple[int, int]

    def reals(self, x: Array) -> Array:
        """int8 as the runtime dequantizes it."""
        return (x.astype(np.float32) - np.float32(self.input_zero_point)) * np.float32(self.input_scale)

    def integers(self, total: Array) -> Array:
        """float32 as the runtime quantizes it."""
        steps = np.rint(total / np.float32(self.output_scale)).astype(np.int64) + self.output_zero_point
        return np.asarray(np.clip(steps, *self.clamp).astype(np.int8))

    def params(self) -> dict[str, Any]:
        """The numbers that the templates name."""
        return {
            "in_scale": bits(self.input_scale),
            "in_zp": self.input_zero_point,
            "out_scale": bits(self.output_scale),
            "out_zp": self.output_zero_point,
            "act_min": self.clamp[0],
            "act_max": self.clamp[1],
        }


def real_of(node: Imported) -> Real:
    """Of a node between DequantizeLinear and QuantizeLinear."""
    x, out = node.input(0), node.outputs[0]
    return Real(
        scale_of(x, node.where),
        zero_point_of(x, node.where),
        scale_of(out, node.where),
        zero_point_of(out, node.where),
        clamp_of(node),
    )


def weight_table(name: str, weights: Sequence[Sequence[float]], float32: bool) -> Table:
    """Weights one after the other: float32 ones as their bits, else int16."""
    values = np.array(weights).reshape(-1)
    if float32:
        return Table(name, "int32_t", values.astype(np.float32).view(np.int32))
    return Table(name, "int16_t", values.astype(np.int16))
