"""Multiplication in float32 steps, as ONNX Runtime's QLinearMul, in exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.numerics import round24, round_even
from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._binary import binary_call, infer, scalar_table, viewable
from mcuc.ops.qlinear_mul.attrs import QLinearMulAttrs
from mcuc.ops.qlinear_mul.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.qlinear_mul.tflite import as_tflite


def reference(attrs: QLinearMulAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: a and b int8, broadcast against each other."""
    a, b = arrays[0], arrays[1]
    assert a is not None and b is not None
    product = (a.astype(np.int64) - attrs.zero_points[0]) * (b.astype(np.int64) - attrs.zero_points[1])
    total = round24(round24(product * attrs.multiplier) + attrs.fixed)
    return (np.clip(round_even(total, attrs.fraction) - attrs.output_offset, *attrs.clamp).astype(np.int8),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A table where one operand is a constant scalar, else one call of the binary family."""
    attrs: QLinearMulAttrs = node.attrs
    table = scalar_table(node, graph, reference)
    if table is not None:
        return (table,)
    params: dict[str, Any] = {
        "za": attrs.zero_points[0],
        "zb": attrs.zero_points[1],
        "multiplier": attrs.multiplier,
        "fixed": attrs.fixed,
        "fraction": attrs.fraction,
        "out_offset": attrs.output_offset,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    return (binary_call("qlinear_mul", node, graph, params, ()),)


OPERATOR = Operator(
    name="qlinear_mul",
    summary="multiplication in float32 steps (ONNX)",
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
