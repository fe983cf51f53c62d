"""Leaky relu with a slope for each channel (or element), itself an int8 tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node, Requant
from mcuc.kernels._base import Call
from mcuc.numerics import requantize
from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._binary import binary_call, infer, scalar_constant, viewable
from mcuc.ops._unary import make_table, table_call
from mcuc.ops.prelu.attrs import PReluAttrs
from mcuc.ops.prelu.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.prelu.tflite import as_tflite, from_tflite, to_tflite


def reference(attrs: PReluAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x and alpha int8, broadcast against each other."""
    assert arrays[0] is not None and arrays[1] is not None
    x, alpha = np.broadcast_arrays(arrays[0].astype(np.int64), arrays[1].astype(np.int64))
    steps = (x - attrs.zero_points[0]).reshape(-1, 1)
    slopes = (alpha - attrs.zero_points[1]).reshape(-1, 1)
    zero, clamp = attrs.output_zero_point, attrs.clamp
    above = requantize(steps, attrs.above, zero, *clamp)
    below = requantize(steps * slopes, attrs.below, zero, *clamp)
    return (np.where(steps >= 0, above, below).reshape(x.shape),)


def constants(rule: Requant) -> dict[str, Any]:
    """A per-tensor rule as the templates name it: rule, multiplier, shift (or the bits of the float32 scale)."""
    if rule.rule == "f32_rne":
        return {"rule": rule.rule, "bits": int(np.float32(rule.scale[0]).view(np.int32))}
    return {"rule": rule.rule, "multiplier": rule.multiplier[0], "shift": rule.shift[0]}


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A table where the slope is one constant, else one call of the binary family."""
    attrs: PReluAttrs = node.attrs
    if scalar_constant(node, graph) == 1:
        every = np.arange(-128, 128).astype(np.int8)
        (values,) = reference(attrs, (every, graph.const(node.inputs[1]).reshape(1)))
        return (table_call(make_table(values), graph.tensors[node.outputs[0]].shape),)
    params: dict[str, Any] = {
        "za": attrs.zero_points[0],
        "zb": attrs.zero_points[1],
        "above": constants(attrs.above),
        "below": constants(attrs.below),
        "out_zp": attrs.output_zero_point,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    return (binary_call("prelu", node, graph, params, ()),)


OPERATOR = Operator(
    name="prelu",
    summary="leaky relu with a slope for each channel",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, viewable),
    tflite=("PRELU",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    as_tflite=as_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    in_place=True,
)
