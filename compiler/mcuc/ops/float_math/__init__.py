"""Subtraction, division, sums and means of several values in float32 steps, as ONNX Runtime computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.kernels.binary import OPERANDS
from mcuc.ops._base import Built, Imported, Operator, int8_runtime, no_cost, scale_of, zero_point_of
from mcuc.ops._binary import binary_call, infer, viewable
from mcuc.ops._onnx import OnnxNode, activation, clamp_of
from mcuc.ops.float_math.tflite import as_tflite

_KINDS: dict[str, Literal["sub", "div", "sum", "mean"]] = {"Sub": "sub", "Div": "div", "Sum": "sum", "Mean": "mean"}


@dataclass(frozen=True)
class FloatMathAttrs:
    """Each operand is float32(x - zero_point) * scale; the result of the operation, divided by output_scale and rounded
    half to even, plus output_zero_point, is clamped. No number (0 / 0) gives the clamp's lower end."""

    kind: Literal["sub", "div", "sum", "mean"]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    output_scale: float
    output_zero_point: int
    clamp: tuple[int, int] = (-128, 127)


def from_onnx(node: Imported) -> Built:
    """Sub and Div of two values, Sum and Mean of any number, between DequantizeLinear and QuantizeLinear."""
    inputs, out = [activation(node, i) for i in range(len(node.inputs))], node.outputs[0]
    attrs = FloatMathAttrs(
        _KINDS[node.kind],
        tuple(float(np.float32(scale_of(x, node.where))) for x in inputs),
        tuple(zero_point_of(x, node.where) for x in inputs),
        float(np.float32(scale_of(out, node.where))),
        zero_point_of(out, node.where),
        clamp_of(node),
    )
    return Built("float_math", tuple(x.name for x in inputs), attrs)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """The operator of that name."""
    kind = next(k for k, v in _KINDS.items() if v == node.attrs.kind)
    return OnnxNode(kind, node.inputs, after=node.attrs.clamp)


def reference(attrs: FloatMathAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """float32 step by step: int8 arrays, broadcast against each other."""
    f32, real = np.float32, []
    for x, scale, zero_point in zip(arrays, attrs.scales, attrs.zero_points, strict=True):
        assert x is not None
        real.append((x.astype(np.int64) - zero_point).astype(f32) * f32(scale))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value: Array = real[0]
        for other in real[1:]:
            value = value - other if attrs.kind == "sub" else value / other if attrs.kind == "div" else value + other
        value = value / f32(len(real)) if attrs.kind == "mean" else value
        steps = np.rint(value / f32(attrs.output_scale)).astype(np.float64)
    low, high = attrs.clamp
    bounded = np.clip(np.nan_to_num(steps, nan=-1e6), -1e6, 1e6).astype(np.int64) + attrs.output_zero_point
    return (np.clip(bounded, low, high).astype(np.int8),)


def sixteen(node: Node, graph: Graph) -> str | None:
    """At most 16 operands."""
    return f"{len(node.inputs)} operands" if len(node.inputs) > len(OPERANDS) else None


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the binary family; scales are passed as their bits."""
    attrs: FloatMathAttrs = node.attrs
    params: dict[str, Any] = {
        "operation": attrs.kind,
        "scales": tuple(_bits(s) for s in attrs.scales),
        "zero_points": attrs.zero_points,
        "count": len(node.inputs),
        "out_scale": _bits(attrs.output_scale),
        "out_zp": attrs.output_zero_point,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    return (binary_call("float", node, graph, params, ()),)


OPERATOR = Operator(
    name="float_math",
    summary="subtraction, division, sum, mean in float32 steps (ONNX)",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, sixteen, viewable),
    onnx=tuple(_KINDS),
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    as_tflite=as_tflite,
    in_place=True,
)
