"""Addition in float32 steps, as ONNX Runtime's QLinearAdd, in exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.numerics import round24, round_even
from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._binary import binary_call, infer, scalar_table, viewable
from mcuc.ops.qlinear_add.attrs import QLinearAddAttrs
from mcuc.ops.qlinear_add.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.qlinear_add.tflite import as_tflite


def reference(attrs: QLinearAddAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: a and b int8, broadcast against each other."""
    operands = []
    for x, extra, multiplier in zip(arrays, attrs.offsets, attrs.multipliers, strict=True):
        assert x is not None
        operands.append((x.astype(np.int64) + extra) * multiplier)
    last, inner = operands[attrs.first], operands[1 - attrs.first]
    total = round24(last + round24(attrs.fixed + inner))
    return (np.clip(round_even(total, attrs.fraction) - attrs.output_offset, *attrs.clamp).astype(np.int8),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A table where one operand is a constant scalar, else one call of the binary family."""
    attrs: QLinearAddAttrs = node.attrs
    table = scalar_table(node, graph, reference)
    if table is not None:
        return (table,)
    params: dict[str, Any] = {
        "offset_a": attrs.offsets[0],
        "offset_b": attrs.offsets[1],
        "mul_a": attrs.multipliers[0],
        "mul_b": attrs.multipliers[1],
        "fixed": attrs.fixed,
        "fraction": attrs.fraction,
        "first": attrs.first,
        "out_offset": attrs.output_offset,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    return (binary_call("qlinear_add", node, graph, params, ()),)


OPERATOR = Operator(
    name="qlinear_add",
    summary="addition in float32 steps (ONNX)",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, viewable),
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    as_tflite=as_tflite,
    in_place=True,
)
