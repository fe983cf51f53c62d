"""LOGISTIC, TANH, LEAKY_RELU, RELU, RELU6 and ABS of TFLite with int16 activations."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor
from mcuc.numerics import quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of
from mcuc.ops._tflite import activation_range, signed_multiplier
from mcuc.ops._wide import UNIT_SCALE, scale_ratio, wide_activation, wide_tensor
from mcuc.ops.unary_16.attrs import Unary16Attrs

_CURVES = ("LOGISTIC", "TANH")
_IDENTITY = (1 << 30, 1)
KINDS = (*_CURVES, "LEAKY_RELU", "RELU", "RELU6", "ABS")


def from_tflite(node: Imported) -> Built:
    """Raises McucError for other types, and for a sigmoid or tanh whose output scale is not 1/32768."""
    x, out = wide_activation(node, 0), wide_tensor(node, node.outputs[0])
    if node.kind in _CURVES:
        if scale_of(out, node.where) != UNIT_SCALE:
            raise McucError(
                "unsupported-quantization",
                f"{node.kind} of int16 writes scale {scale_of(out, node.where)}; TFLite demands 1/32768",
                where=node.where,
                try_this="convert the model again with the standard TFLite converter",
            )
        multiplier, shift = _curve_constants(scale_of(x, node.where), node.kind == "TANH")
        kind: Literal["tanh", "sigmoid"] = "tanh" if node.kind == "TANH" else "sigmoid"
        return Built("unary_16", (x.name,), Unary16Attrs(kind, multiplier, shift))
    multiplier, shift = quantize_multiplier(scale_ratio(node))
    if node.kind == "ABS":
        return Built("unary_16", (x.name,), Unary16Attrs("linear", multiplier, shift, (-multiplier, shift), alpha=-1.0))
    if node.kind == "LEAKY_RELU":
        alpha = float(np.float32(node.options.alpha))
        negative = signed_multiplier(scale_ratio(node) * alpha)
        return Built("unary_16", (x.name,), Unary16Attrs("linear", multiplier, shift, negative, alpha=alpha))
    return Built("unary_16", (x.name,), _clamped(node.kind, x, out, node.where))


def _clamped(kind: str, x: Tensor, out: Tensor, where: str) -> Unary16Attrs:
    """RELU requantizes; RELU6 of TFLite Micro clamps in the input's quantization and copies."""
    if kind == "RELU6":
        return Unary16Attrs("linear", *_IDENTITY, None, activation_range(3, x, where))
    factor = quantize_multiplier(scale_of(x, where) / scale_of(out, where))
    return Unary16Attrs("linear", *factor, None, activation_range(1, out, where))


def _curve_constants(scale: float, tanh: bool) -> tuple[int, int]:
    """Multiplier and right shift to units of 2^-12 / 3: exact for powers of two near 2^-12, else of 15 bits."""
    exponent = math.frexp(scale)[1] - 1
    if scale == 2.0**exponent and 0 <= 12 + exponent <= int(tanh):
        return 3 << (12 + exponent), 0
    multiplier, shift = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    return int(multiplier), shift


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As the operator of the same function."""
    attrs: Unary16Attrs = node.attrs
    if attrs.kind != "linear":
        return Exported("TANH" if attrs.kind == "tanh" else "LOGISTIC")
    if attrs.alpha == -1.0:
        return Exported("ABS")
    if attrs.negative is not None:
        return Exported("LEAKY_RELU", "LeakyReluOptions", {"alpha": attrs.alpha})
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    for kind in ("RELU", "RELU6"):
        if _clamped(kind, x, out, node.name) == attrs:
            return Exported(kind)
    raise McucError(
        "not-exportable",
        f"TFLite has no operator for the clamp {attrs.clamp} of int16 values",
        where=node.name,
        try_this="use relu or relu6",
    )
