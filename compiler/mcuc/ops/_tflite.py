"""TFLite's quantization preparation, shared by the operators' from_tflite functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Requant, Tensor
from mcuc.numerics import quantize_multiplier, tflite_requant
from mcuc.ops._base import Imported, scale_of, zero_point_of
from mcuc.ops._spatial import Window, same_padding

FULL = (-128, 127)
CURVE_SCALES = (2.0**-27, 8.0)  # int8 inputs of LOGISTIC, TANH: beyond, CalculateInputRadius shifts too far
BEYOND_MICRO = "beyond TFLite Micro"  # in the notes of a model whose answers are compared with LiteRT instead


def beyond_micro(node: Imported, why: str) -> tuple[str, ...]:
    """The note of a node that TFLite Micro lacks or computes otherwise."""
    return (f"{node.where}: {why} ({BEYOND_MICRO}: computed as LiteRT does)",)


def activation_range(fused: int, output: Tensor, where: str) -> tuple[int, int]:
    """The clamp of a fused activation, in the output's type (TFLite's CalculateActivationRangeQuantized).

    Raises McucError for an activation that has no clamp form.
    """
    bounds: dict[int, tuple[float | None, float | None]] = {
        0: (None, None),
        1: (0.0, None),
        2: (-1.0, 1.0),
        3: (0.0, 6.0),
    }
    if fused not in bounds:
        raise McucError(
            "unsupported-activation",
            f"fused activation number {fused} is not supported",
            where=where,
            try_this="use RELU, RELU6, RELU_N1_TO_1 or none as the fused activation",
        )
    low, high = bounds[fused]
    least, most = output.dtype.limits if output.dtype is DType.INT16 else FULL
    if low is None and high is None:
        return least, most
    scale, zero_point = np.float32(scale_of(output, where)), zero_point_of(output, where)

    def quantized(value: float) -> int:
        q = float(np.float32(value) / scale)
        rounded = int(np.floor(abs(q) + 0.5)) * (1 if q >= 0 else -1)
        return max(least, min(most, rounded + zero_point))

    return (least if low is None else quantized(low), most if high is None else quantized(high))


def normal_axis(axis: Any, rank: int, node: Imported) -> int:
    """The axis counted from the front. Raises McucError when the tensor has no such axis."""
    value = int(axis)
    if not -rank <= value < rank:
        raise McucError(
            "broken-model",
            f"{node.kind} along axis {value} of a tensor of rank {rank}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    return value % rank


def conv_requant(node: Imported, weights: Tensor, float32_product: bool) -> Requant:
    """Multipliers of a convolution or dense layer.

    The scales are multiplied in double precision (PopulateConvolutionQuantizationParams, and dense layers), but
    uint8 convolutions take the float32 product first (GetQuantizedConvolutionMultipler). The two differ in about one
    output of 100,000: those whose real value lies within 1e-8 of a tie.
    """
    x, out = node.input(0), node.outputs[0]
    if float32_product and weights.quant is not None and len(weights.quant.scale) == 1:
        product = float(np.float32(scale_of(x, node.where)) * np.float32(weights.quant.scale[0]))
        m, s = quantize_multiplier(product / scale_of(out, node.where))
        return Requant("tflite_double", (m,), (s,))
    return weight_requant(node, x, weights)


def weight_requant(node: Imported, x: Tensor, weights: Tensor) -> Requant:
    """Multipliers of x times weights, per tensor or per channel, from products in double precision."""
    if weights.quant is None:
        raise McucError(
            "not-quantized",
            f"weights {weights.name!r} ({weights.dtype.value}) are not quantized",
            where=node.where,
            try_this="quantize the model to full int8 before compiling",
        )
    return tflite_requant(scale_of(x, node.where), weights.quant.scale, scale_of(node.outputs[0], node.where))


def weight_tensor(node: Imported, index: int, rank: int) -> Tensor:
    """A constant int8 weight tensor of the given rank. Raises McucError naming the float tensor otherwise."""
    node.constant(index)
    return int8_weights(node, index, rank)


def int8_weights(node: Imported, index: int, rank: int) -> Tensor:
    """The same, which may be computed at run time."""
    weights = node.input(index)
    if weights.dtype.value != "int8":
        raise McucError(
            "not-quantized",
            f"weights {weights.name!r} are {weights.dtype.value}, int8 is needed",
            where=node.where,
            try_this="quantize it with samples: mcuc build MODEL --data SAMPLES; or convert with full integer "
            "quantization (a representative dataset and "
            "target_spec.supported_ops = [TFLITE_BUILTINS_INT8])",
        )
    if len(weights.shape) != rank:
        raise McucError(
            "broken-model",
            f"weights {weights.name!r} have shape {weights.shape}, rank {rank} is needed",
            where=node.where,
            try_this="check that the model file is complete",
        )
    return weights


FULL_INTEGER = (
    "convert the float model with full integer quantization: converter.optimizations = [tf.lite.Optimize.DEFAULT], a "
    "representative_dataset, and supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]"
)


def checked_activation(node: Imported, index: int) -> Tensor:
    """A quantized int8 input. Raises McucError naming a float tensor otherwise (float and hybrid models)."""
    tensor = node.input(index)
    if tensor.dtype.value != "int8" or tensor.quant is None:
        kind = "dynamic-range" if node.hybrid else "float"
        first = "" if node.hybrid else "quantize it with samples: mcuc build MODEL --data SAMPLES; or "
        raise McucError(
            "not-quantized",
            f"{node.kind} reads tensor {tensor.name!r} of type {tensor.dtype.value}; "
            f"int8 activations are needed (this is a {kind} model)",
            where=node.where,
            try_this=first + FULL_INTEGER,
        )
    return tensor


def bias_inputs(node: Imported, index: int, channels: int) -> tuple[str, ...]:
    """("bias name",) or () when absent. Raises McucError when it is not a constant int32 vector."""
    bias = node.optional(index)
    if bias is None:
        return ()
    node.constant(index)
    if bias.dtype.value != "int32" or bias.shape != (channels,):
        raise McucError(
            "unsupported-bias",
            f"bias {bias.name!r} is {bias.dtype.value} of shape {bias.shape}, int32 of ({channels},) is needed",
            where=node.where,
            try_this="quantize the model to full int8",
        )
    return (bias.name,)


def fused_activation(clamp: tuple[int, int], output: Tensor, where: str) -> int:
    """The fused activation number whose clamp is the node's. Raises McucError when TFLite has none."""
    for number in (0, 1, 3, 2):
        if activation_range(number, output, where) == clamp:
            return number
    raise McucError(
        "not-exportable",
        f"TFLite has no fused activation for the clamp {clamp}",
        where=where,
        try_this="use relu, relu6 or no activation",
    )


def nearest_activation(clamp: tuple[int, int], output: Tensor, where: str) -> int:
    """The fused activation number whose clamp is the node's to a step, the most that other rounding makes of a bound.

    Raises McucError when TFLite has none.
    """
    for number in (0, 1, 3, 2):
        found = activation_range(number, output, where)
        if max(abs(a - b) for a, b in zip(found, clamp, strict=True)) <= 1:
            return number
    return fused_activation(clamp, output, where)


def padding_fields(window: Window, size: tuple[int, int], where: str) -> dict[str, int]:
    """padding and strides of a window as TFLite option fields. Raises McucError when it is neither SAME nor VALID."""
    same = same_padding(size, window.kernel, window.stride, window.dilation)
    if window.pad == (0, 0, 0, 0):
        padding = 1
    elif window.pad == same:
        padding = 0
    else:
        raise McucError(
            "not-exportable",
            f"TFLite cannot express the padding {window.pad}",
            where=where,
            try_this="pad with SAME or VALID, or put an explicit PAD before",
        )
    return {"padding": padding, "strideH": window.stride[0], "strideW": window.stride[1]}


def signed_multiplier(real: float) -> tuple[int, int]:
    """quantize_multiplier of a factor of either sign."""
    multiplier, shift = quantize_multiplier(abs(real))
    return (multiplier if real >= 0 else -multiplier), shift
