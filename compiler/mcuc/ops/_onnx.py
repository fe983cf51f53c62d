"""ONNX Runtime's arithmetic, shared by the operators' from_onnx and to_onnx functions.

from_onnx gets a canonical node: `kind` is the plain ONNX operator (also where the file has QLinearConv or QGemm), the
activations are int8 tensors in stored order (channels last for spatial operators), and `options` holds attributes in
that order: axes, window (t, l, b, r padding resolved), pads. options["clamp"] is the range of a fused activation,
options["types"] the integer types of the file for the run-time inputs and the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Node, Requant, Tensor
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._spatial import Window
from mcuc.ops._unary import make_table

FULL = (-128, 127)


@dataclass(frozen=True)
class OnnxNode:
    """A node as the ONNX exporter writes it, in terms of float operators.

    kind: the operator; inputs: names of the graph's tensors, "" where absent, or constants listed here; constants are
    in ONNX's layout, quantized ones become DequantizeLinear inputs. perm: of every rank-4 activation (the exporter
    passes channels first), None when the operator works in the graph's own order. after: a clamp in integers that
    the operator itself cannot express. kind "Places": no operator, attrs["places"] says of each output element (in its
    shape) where it lies in the input, both in the graph's own order.
    """

    kind: str
    inputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    constants: tuple[Tensor, ...] = ()
    channels_first: bool = True
    after: tuple[int, int] = FULL


def activation(node: Imported, index: int) -> Tensor:
    """A quantized int8 input. Raises McucError naming it otherwise."""
    tensor = node.input(index)
    if tensor.dtype is not DType.INT8:
        raise McucError(
            "not-quantized",
            f"{node.kind} reads {tensor.name!r} of type {tensor.dtype.value}",
            where=node.where,
            try_this="quantize the model: onnxruntime.quantization.quantize_static",
        )
    scale_of(tensor, node.where)
    return tensor


def requant(node: Imported, weights: Tensor, factor: float = 1.0) -> Requant:
    """MLAS's output scale per channel in float32: (factor * x scale * w scale) / y scale, in this order."""
    assert weights.quant is not None
    x = np.float32(factor) * np.float32(scale_of(node.input(0), node.where))
    y = np.float32(scale_of(node.outputs[0], node.where))
    with np.errstate(over="ignore", under="ignore"):
        scales = (x * np.array(weights.quant.scale, np.float32)) / y
    if not np.all(np.isfinite(scales)) or not np.all(scales > 0):
        raise McucError(
            "corrupt-model",
            "the scales of input, weights and output do not fit into float32",
            where=node.where,
            try_this="quantize the model again",
        )
    return Requant("f32_rne", scale=tuple(float(s) for s in scales))


def bias_tensor(node: Imported, index: int, weights: Tensor, channels: int) -> Tensor | None:
    """The bias as int32: as stored, or quantized from float with scale x * w, half to even, as ONNX Runtime does."""
    bias = node.optional(index)
    if bias is None:
        return None
    data = node.constant(index).reshape(-1)
    if data.size == 1 and channels > 1:
        data = np.repeat(data, channels)
    if data.size != channels:
        raise McucError(
            "broken-model",
            f"bias {bias.name!r} has shape {bias.shape}, {channels} channels need one each",
            where=node.where,
            try_this="check that the model file is complete",
        )
    if data.dtype != np.int32:
        assert weights.quant is not None
        scale = np.float32(scale_of(node.input(0), node.where)) * np.array(weights.quant.scale, np.float32)
        with np.errstate(all="ignore"):
            steps = np.rint(data.astype(np.float32) / scale).astype(np.float64)
        if np.isnan(steps).any() or not np.isfinite(data).all():
            raise McucError(
                "corrupt-model",
                f"bias {bias.name!r} holds what is no number, or its scale is zero in float32",
                where=node.where,
                try_this="check the model's parameters and quantize it again",
            )
        data = np.clip(steps, -(2.0**31), 2.0**31 - 1).astype(np.int64)
    return Tensor(f"{node.outputs[0].name}/bias", (channels,), DType.INT32, None, data.astype(np.int32))


def weight_zero_points(weights: Tensor) -> tuple[int, ...]:
    """(0,) for symmetric weights, else one zero point or one per channel."""
    return (0,) if weights.quant is None else weights.quant.zero_point


def clamp_of(node: Imported) -> tuple[int, int]:
    low, high = node.options.get("clamp", FULL)
    return int(low), int(high)


def window_of(node: Imported) -> Window:
    """The window of a canonical spatial node."""
    o = node.options
    return Window(o["kernel"], o["strides"], o["dilations"], o["pads"])


def float_table(node: Imported, x: Tensor, function: Callable[[Array], Array]) -> bytes:
    """DequantizeLinear, a float32 function, QuantizeLinear, for all 256 inputs, clamped as the node says."""
    out = node.outputs[0]
    low, high = clamp_of(node)
    steps = np.arange(-128, 128) - zero_point_of(x, node.where)
    with np.errstate(all="ignore"):
        real = steps.astype(np.float32) * np.float32(scale_of(x, node.where))
        results = np.asarray(function(real), np.float32)
        scaled = np.rint(results / np.float32(scale_of(out, node.where))).astype(np.float64)
    # the runtime's quantization makes the lowest integer of what is no number
    bounded = np.clip(np.nan_to_num(scaled, nan=-1e6), -1e6, 1e6).astype(np.int64) + zero_point_of(out, node.where)
    return make_table(np.clip(bounded, max(low, -128), min(high, 127)))


def table_node(
    op: str, function: Callable[[Imported], Callable[[Array], Array]], attrs: type
) -> Callable[[Imported], Built]:
    """A from_onnx for a unary operator whose attributes are just the table."""

    def from_onnx(node: Imported) -> Built:
        x = activation(node, 0)
        return Built(op, (x.name,), attrs(float_table(node, x, function(node))))

    return from_onnx


def logistic(real: Array) -> Array:
    """The logistic function as MLAS computes it: a rational approximation in float32 with fused multiply-adds.

    The coefficients are Eigen's (generic_fast_tanh-style minimax fit of logistic on [-18, 18]).
    """
    x = np.clip(np.asarray(real, np.float32), np.float32(-18.0), np.float32(18.0))
    square = (x * x).astype(np.float32)
    p = _horner(
        square,
        (4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03, 2.48287947061529e-01),
    )
    q = _horner(
        square,
        (
            6.10247389755681e-13,
            5.76102136993427e-09,
            6.29106785017040e-06,
            1.70198817374094e-03,
            1.16817656904453e-01,
            9.93151921023180e-01,
        ),
    )
    half = ((x * p).astype(np.float32) / q).astype(np.float32) + np.float32(0.5)
    bounded: Array = np.clip(half, np.float32(0.0), np.float32(1.0))
    return bounded


def _horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    total = np.full_like(x, coefficients[0], dtype=np.float32)
    for c in coefficients[1:]:  # a fused multiply-add: the product is exact in float64
        total = (total.astype(np.float64) * x.astype(np.float64) + np.float64(np.float32(c))).astype(np.float32)
    return total


def weights_constant(name: str, weights: Tensor, data: Array, axis: int | None = None) -> Tensor:
    """Weights in another order; per-channel scales stay along axis 0 as in the file, or lie along `axis`."""
    quant = weights.quant
    assert quant is not None
    if axis is not None and len(quant.scale) > 1:
        quant = replace(quant, axis=axis)
    return Tensor(name, data.shape, DType.INT8, quant, np.ascontiguousarray(data), int4=weights.int4)


def not_exportable(node: Node, why: str) -> McucError:
    return McucError(
        "not-exportable", f"{node.op} has no ONNX form: {why}", where=node.name, try_this="export to TFLite instead"
    )
