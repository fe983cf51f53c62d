"""What operators with int16 activations share (TFLite's 16x8): checks, constants, requantization.

Activations have zero point 0, weights are int8 with zero point 0. Layers with int64 biases sum in 64 bits (rule
"tflite_wide"), layers with int32 biases modulo 2^32. Calls count their channels in bytes, which they keep together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Requant, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.numerics import quantize_multiplier, wrap32
from mcuc.numerics16 import reduce_multiplier, requantize16
from mcuc.ops._base import Imported, scale_of, zero_point_of
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._tflite import weight_requant

INT16 = (-32768, 32767)
UNIT_SCALE = 1 / 32768  # that TFLite demands of the outputs of sigmoid, tanh and softmax
MOST_SHIFT = 14  # to the left, that the wide rule knows


def wide_activation(node: Imported, index: int) -> Tensor:
    """An int16 input of zero point 0, constant or not. Raises McucError naming the tensor otherwise."""
    return wide_tensor(node, node.input(index))


def wide_tensor(node: Imported, tensor: Tensor) -> Tensor:
    """The tensor, which must be int16 with one scale and zero point 0. Raises McucError otherwise."""
    if tensor.dtype is not DType.INT16 or zero_point_of(tensor, node.where) != 0:
        found = tensor.dtype.value if tensor.dtype is not DType.INT16 else "int16 with a zero point"
        raise McucError(
            "unsupported-quantization",
            f"{node.kind} has int16 activations and tensor {tensor.name!r} of type {found}",
            where=node.where,
            try_this="put a QUANTIZE to int16 (zero point 0) before the node, or convert the whole model with "
            "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
        )
    return tensor


def wide_bias(node: Imported, index: int, channels: int, types: tuple[DType, ...]) -> Tensor | None:
    """The constant bias of one of the types, or None. Raises McucError for another type or shape."""
    bias = node.optional(index)
    if bias is None:
        return None
    node.constant(index)
    if bias.dtype not in types or bias.shape != (channels,):
        wanted = " or ".join(t.value for t in types)
        raise McucError(
            "unsupported-bias",
            f"bias {bias.name!r} is {bias.dtype.value} of shape {bias.shape}, {wanted} of ({channels},) is needed",
            where=node.where,
            try_this="convert the model again with int16 activations and int8 weights",
        )
    return bias


def wide_requant(node: Imported, x: Tensor, weights: Tensor, bias: Tensor | None) -> Requant:
    """Multipliers of x times weights; 64-bit sums unless the bias has 32. Raises McucError for weights with a zero
    point and for an output scale 2^14 times finer than the products."""
    if weights.quant is not None and any(weights.quant.zero_point):
        raise McucError(
            "unsupported-quantization",
            f"weights {weights.name!r} have a zero point",
            where=node.where,
            try_this="quantize weights symmetrically for int16 activations",
        )
    found = weight_requant(node, x, weights)
    if max(found.shift) > MOST_SHIFT:
        raise McucError(
            "unsupported-quantization",
            f"the output's scale is more than 2^{MOST_SHIFT} times finer than input times weight scale",
            where=node.where,
            try_this="calibrate the model again",
        )
    return found if bias is not None and bias.dtype is DType.INT32 else replace(found, rule="tflite_wide")


def one_requant(real: float) -> Requant:
    """One multiplier of the two-step rule."""
    multiplier, shift = quantize_multiplier(real)
    return Requant("tflite_double", (multiplier,), (shift,))


def finish16(acc: Array, attrs: ConvAttrs) -> Array:
    """Accumulators [..., channels] -> int16 output."""
    return requantize16(acc, attrs.requant, *attrs.clamp)


def sums_bound(weights: Array, bias: Array) -> int:
    """The largest magnitude of a sum: weights [channels, taps], bias [channels]."""
    reach = np.abs(weights.astype(np.float64)).sum(1) * 32768 + np.abs(bias.astype(np.float64))
    return int(reach.max(initial=0))


def short_sums(node: Node, graph: Graph) -> str | None:
    """Sums stay within 48 bits, whatever the activations."""
    weights, bias = graph.tensors[node.inputs[1]].data, bias_of(node, graph)
    if weights is None:
        return None
    depthwise = node.op.startswith("depthwise")
    flat = weights.reshape(-1, weights.shape[3]).T if depthwise else weights.reshape(len(weights), -1)
    return "sums beyond 48 bits" if sums_bound(flat, bias) >= 1 << 47 else None


def constant_weights(node: Node, graph: Graph) -> str | None:
    """Weights and bias are constants, weights int8."""
    w = graph.tensors[node.inputs[1]]
    if w.data is None or w.dtype is not DType.INT8:
        return f"weights {w.name!r} are {'computed at run time' if w.data is None else w.dtype.value}"
    return None


def bias_of(node: Node, graph: Graph) -> Array:
    """The bias, zeros where there is none."""
    if len(node.inputs) > 2 and node.inputs[2]:
        return graph.const(node.inputs[2])
    return np.zeros(graph.tensors[node.outputs[0]].shape[-1], np.int64)


def mac_params(attrs: ConvAttrs, weights: Array, bias: Array) -> dict[str, Any]:
    """Constants of a multiply-accumulate template's output stage; weights [channels, taps]. short: sums fit 32 bits;
    upper: the output is the upper half of one product (see mac_tables)."""
    short = sums_bound(weights, bias) < 1 << 31
    return {
        "rule": attrs.requant.rule,
        "per_channel": len(attrs.requant.multiplier) > 1,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
        "short": short,
        "upper": short and _upper(attrs.requant),
    }


def _upper(requant: Requant) -> bool:
    """(sum * m + half) >> r, for sums and m * 2^(32 - r) of 32 bits, is the rounded upper half of their product."""
    return requant.rule == "tflite_wide" and all(16 <= 15 - shift <= 32 for shift in requant.shift)


def mac_tables(params: Mapping[str, Any], requant: Requant, bias: Array) -> tuple[Table, ...]:
    """Bias (of 64 bits only where one needs them), multipliers (reduced to 16 bits for the wide rule) and shifts; the
    multipliers have the shifts in them where mac_params says `upper`."""
    multiplier, shift = np.array(requant.multiplier, np.int64), np.array(requant.shift, np.int64)
    fits = np.array_equal(wrap32(bias), bias.astype(np.int64))
    start = Table("bias", "int32_t" if fits else "int64_t", bias.astype(np.int64))
    if params["upper"]:
        return start, Table("multiplier", "int32_t", reduce_multiplier(multiplier) << (17 + shift))
    reduced = Table("multiplier", "int16_t", reduce_multiplier(multiplier))
    wide = requant.rule == "tflite_wide"
    return (
        start,
        reduced if wide else Table("multiplier", "int32_t", multiplier),
        Table("shift", "int8_t", shift),
    )


def vectors(shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor as (pixels, channels) along its last axis."""
    channels = shape[-1] if shape else 1
    return prod(shape) // max(1, channels), channels


def scale_ratio(node: Imported) -> float:
    """Scale of the first input over that of the output."""
    return scale_of(node.input(0), node.where) / scale_of(node.outputs[0], node.where)


def unary16_call(params: dict[str, Any], tables: tuple[Table, ...], x: Tensor, out: Tensor) -> Call:
    """A call of the unary16 family over tensors of one shape, seen as one row of pixels."""
    width, channels = vectors(out.shape)
    sizes = {"from_bytes": x.dtype.bytes, "to_bytes": out.dtype.bytes, "outs": channels}
    pixel, to = channels * x.dtype.bytes, channels * out.dtype.bytes
    rows = Rows(0, width * pixel, 1, columns=Columns(pixel))
    return Call("unary16", {**params, **sizes}, tables, (rows,), 1, width, to, width * to, to, whole_channels=True)
