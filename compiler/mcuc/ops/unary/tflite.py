"""Functions of one value of TFLite: TFLite Micro's int8 kernels; LiteRT's where TFLite Micro has none.

Sources of the formulas: TensorFlow Lite's reference kernels (tanh.h, hard_swish.h, leaky_relu.h, elementwise.cc, neg.h,
gelu.h, exp.h, activations.cc) and their preparation in float32 or double, as each has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc import fixed_point
from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.numerics import I64, multiply_by_quantized_multiplier, rounding_shift_right
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import CURVE_SCALES, checked_activation, signed_multiplier
from mcuc.ops._unary import make_table
from mcuc.ops.unary.attrs import UnaryAttrs
from mcuc.ops.unary.functions import elu, gelu

f32 = np.float32
_INT8 = np.arange(-128, 128, dtype=np.int64)


@dataclass(frozen=True)
class Ends:
    """Scales (float32 values) and zero points of input and output, and the parameters of the function."""

    kind: str
    where: str
    x_scale: float
    x_zero: int
    y_scale: float
    y_zero: int
    parameters: tuple[float, ...]

    @property
    def steps(self) -> I64:
        """Input steps from the zero point, of every int8 value in order."""
        return np.asarray(_INT8 - self.x_zero, np.int64)

    def multiplier(self, real: float | np.floating[Any]) -> tuple[int, int]:
        """As signed_multiplier. Raises McucError where the scales give no number."""
        if not math.isfinite(real):
            raise self.refuse(f"with input scale {self.x_scale:g} and output scale {self.y_scale:g}")
        return signed_multiplier(float(real))

    def refuse(self, found: str, try_this: str = "convert the model again with the standard TFLite converter") -> Any:
        return McucError("unsupported-quantization", f"{self.kind} {found}", where=self.where, try_this=try_this)


def _float_lut(function: Callable[[Array, tuple[float, ...]], Array]) -> Callable[[Ends], Array]:
    """float32: scale * steps, the function, times 1 / scale, half away from zero (LUTPopulate)."""

    def table(e: Ends) -> Array:
        real = f32(e.x_scale) * e.steps.astype(f32)
        scaled = (np.asarray(function(real, e.parameters), f32) * (f32(1) / f32(e.y_scale))).astype(np.float64)
        rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
        steps: Array = np.clip(np.nan_to_num(rounded, nan=-1e6), -1e6, 1e6).astype(np.int64)
        return steps + e.y_zero

    return table


def _tanh(e: Ends) -> Array:
    if (e.y_scale, e.y_zero) != (1 / 128, 0):
        raise e.refuse(f"writes scale {e.y_scale} and zero point {e.y_zero}; TFLite demands 1/128 and 0")
    if not CURVE_SCALES[0] <= e.x_scale < CURVE_SCALES[1]:
        raise e.refuse(
            f"reads scale {e.x_scale:g}: below 2^-27 and from 8 on the runtimes' answer for a zero is wrong"
        )
    multiplier, shift = e.multiplier(e.x_scale * (1 << 27))
    radius = math.floor(15 * 2.0**27 / 2.0**shift)
    scaled = multiply_by_quantized_multiplier(e.steps, multiplier, shift)
    inside = rounding_shift_right(fixed_point.tanh(scaled, 4), 24)
    return np.where(e.steps <= -radius, -128, np.where(e.steps >= radius, 127, inside))


def _int16_multiplier(e: Ends, real: float) -> tuple[int, int]:
    multiplier, shift = e.multiplier(real)
    return (2**15 - 1 if multiplier >= 2**31 - 2**15 else (multiplier + 2**15) >> 16), shift


def _srdhm16(a: I64, b: I64 | int) -> I64:
    """gemmlowp's rounding doubling high multiply of int16 values (no two of them -2^15 here)."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.where(nudged >= 0, nudged >> 15, -(-nudged >> 15))


def _saturated16(a: I64) -> I64:
    return np.clip(a, -(2**15), 2**15 - 1)


def _hard_swish(e: Ends) -> Array:
    fine = f32(1.0 / 128.0) * f32(e.x_scale)
    out_multiplier, out_shift = _int16_multiplier(e, float(fine / f32(e.y_scale)))
    relu_multiplier, relu_shift = _int16_multiplier(e, float(fine / f32(3.0 / 32768.0)))
    if not -15 <= out_shift <= 0 or not -15 <= relu_shift <= 15:
        raise e.refuse(
            f"with input scale {e.x_scale:g} and output scale {e.y_scale:g}: the input scale must lie below 128 times "
            "the output scale, and between 2^-22 and 2^8"
        )
    steps = e.steps << 7  # of an int16
    preshift = _srdhm16(steps, out_multiplier)
    relu = steps
    if relu_shift > 0:
        relu = _saturated16(relu << (relu_shift - 1))
    relu = _srdhm16(relu, relu_multiplier)
    if relu_shift > 0:
        relu = _saturated16(relu << 1)
    if relu_shift < 0:
        relu = rounding_shift_right(relu, -relu_shift)
    relu = (relu + (1 << 15)) >> 1  # [-1, 1] to [0, 1]
    product = relu * preshift
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return rounding_shift_right(truncated, -out_shift) + e.y_zero


def _leaky_relu(e: Ends) -> Array:
    (alpha,) = e.parameters
    ratio = f32(e.x_scale) / f32(e.y_scale)
    below = e.multiplier(f32(e.x_scale) * f32(alpha) / f32(e.y_scale))
    above = e.multiplier(ratio)
    scaled = np.where(
        e.steps >= 0,
        multiply_by_quantized_multiplier(e.steps, *above),
        multiply_by_quantized_multiplier(e.steps, *below),
    )
    return scaled + e.y_zero


def _abs(e: Ends) -> Array:
    steps = np.abs(e.steps)
    if e.x_scale != e.y_scale:
        steps = multiply_by_quantized_multiplier(steps, *e.multiplier(f32(e.x_scale) / f32(e.y_scale)))
    return steps + e.y_zero


def _rsqrt(e: Ends) -> Array:
    if e.x_zero != -128:
        raise e.refuse(f"has input zero point {e.x_zero}: values below zero have no root, it must be -128")
    m, s = e.multiplier(1.0 / float(np.sqrt(f32(e.x_scale)) * f32(e.y_scale)))
    multiplier, shift = fixed_point.inverse_sqrt(np.maximum(e.steps, 1))
    root = multiply_by_quantized_multiplier(np.ones(256, np.int64), multiplier, shift + 20)
    return np.where(e.steps == 0, 127, multiply_by_quantized_multiplier(root, m, s - 20) + e.y_zero)


def _sqrt(e: Ends) -> Array:
    if e.x_zero != -128:
        raise e.refuse(f"has input zero point {e.x_zero}: values below zero have no root, it must be -128")
    real = np.sqrt(f32(e.x_scale) * e.steps.astype(f32)) / f32(e.y_scale)
    whole: Array = np.minimum(real, f32(1e6)).astype(np.int64)  # LiteRT cuts the fraction off
    return whole + e.y_zero


def _neg(e: Ends) -> Array:
    """LiteRT negates the integer, whatever the quantization; -128 stays as it is."""
    if e.x_zero or e.y_zero or e.x_scale != e.y_scale:
        raise e.refuse("negates integers: both scales must be equal and the zero points 0")
    return np.where(_INT8 == -128, -128, -_INT8)


def _relu_0_to_1(e: Ends) -> Array:
    m, s = e.multiplier(e.x_scale / e.y_scale)
    scaled = multiply_by_quantized_multiplier(e.steps, m, s) + e.y_zero
    return np.clip(scaled, e.y_zero, e.y_zero + int(np.floor(float(f32(1) / f32(e.y_scale)) + 0.5)))


TABLES: dict[str, Callable[[Ends], Array]] = {
    "ABS": _abs,
    "ELU": _float_lut(lambda x, _: elu(x, 1.0)),
    "EXP": _float_lut(lambda x, _: np.exp(x.astype(np.float64))),
    "GELU": _float_lut(lambda x, parameters: gelu(x, bool(parameters[0]))),
    "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu,
    "LOG": _float_lut(lambda x, _: np.log(x.astype(np.float64))),
    "NEG": _neg,
    "RELU_0_TO_1": _relu_0_to_1,
    "RSQRT": _rsqrt,
    "SQRT": _sqrt,
    "TANH": _tanh,
}
_UNSIGNED = {"GELU", "HARD_SWISH", "LEAKY_RELU", "RELU_0_TO_1", "TANH"}  # TFLite has uint8 kernels of these alone
_OPTIONS = {
    "ABS": "AbsOptions",
    "EXP": "ExpOptions",
    "GELU": "GeluOptions",
    "HARD_SWISH": "HardSwishOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "NEG": "NegOptions",
}


def _table(kind: str, parameters: tuple[float, ...], x: Tensor, out: Tensor, where: str) -> bytes:
    """Raises McucError for quantization that the kind cannot have."""
    ends = Ends(
        kind,
        where,
        scale_of(x, where),
        zero_point_of(x, where),
        scale_of(out, where),
        zero_point_of(out, where),
        parameters,
    )
    with np.errstate(all="ignore"):  # a quotient of scales that overflows is refused
        return make_table(TABLES[kind](ends))


def from_tflite(node: Imported) -> Built:
    """Raises McucError on float tensors, on uint8 ones where TFLite has no kernel, and on quantization it refuses."""
    x = checked_activation(node, 0)
    if node.unsigned and node.kind not in _UNSIGNED:
        raise McucError(
            "unsupported-operator",
            f"{node.kind} of uint8 tensors is not supported: TFLite has no such kernel",
            where=node.where,
            try_this="convert the model again with int8 activations",
        )
    parameters: tuple[float, ...] = ()
    if node.kind == "LEAKY_RELU":
        parameters = (float(f32(node.options.alpha)),)
    elif node.kind == "GELU":
        parameters = (float(node.options.approximate),)
    table = _table(node.kind, parameters, x, node.outputs[0], node.where)
    return Built("unary", (x.name,), UnaryAttrs(table, node.kind.lower(), parameters))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As the TFLite operator of that name. Raises McucError where its table is another."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    attrs: UnaryAttrs = node.attrs
    kind = attrs.kind.upper()
    if kind not in TABLES or _table(kind, attrs.parameters, x, out, node.name) != attrs.table:
        raise McucError(
            "not-exportable",
            f"TFLite has no int8 operator that computes the table of this {attrs.kind}",
            where=node.name,
            try_this="export to ONNX instead",
        )
    return _exported(attrs)


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As the TFLite operator of the same function, in its own rounding. Raises McucError where there is none."""
    if node.attrs.kind.upper() not in TABLES:
        raise McucError(
            "not-exportable",
            f"TFLite has no int8 operator for {node.attrs.kind}",
            where=node.name,
            try_this="export to ONNX instead",
        )
    return _exported(node.attrs)


def _exported(attrs: UnaryAttrs) -> Exported:
    kind = attrs.kind.upper()
    fields: dict[str, Any] = {}
    if kind == "LEAKY_RELU":
        fields = {"alpha": attrs.parameters[0]}
    elif kind == "GELU":
        fields = {"approximate": bool(attrs.parameters[0])}
    return Exported(kind, _OPTIONS.get(kind, ""), fields)
