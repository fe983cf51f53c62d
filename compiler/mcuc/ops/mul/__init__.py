"""Multiplication with broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.numerics import requantize
from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._binary import binary_call, infer, scalar_table, viewable
from mcuc.ops.mul.attrs import MulAttrs
from mcuc.ops.mul.onnx import to_onnx
from mcuc.ops.mul.tflite import from_tflite, to_tflite


def reference(attrs: MulAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: a and b int8, broadcast against each other."""
    a, b = arrays[0], arrays[1]
    assert a is not None and b is not None
    product = (a.astype(np.int64) - attrs.zero_points[0]) * (b.astype(np.int64) - attrs.zero_points[1])
    out = requantize(product.reshape(-1, 1), attrs.requant, attrs.output_zero_point, *attrs.clamp)
    return (out.reshape(product.shape),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A table where one operand is a constant scalar, else one call of the binary family."""
    attrs: MulAttrs = node.attrs
    table = scalar_table(node, graph, reference)
    if table is not None:
        return (table,)
    params: dict[str, Any] = {
        "za": attrs.zero_points[0],
        "zb": attrs.zero_points[1],
        "mo": attrs.requant.multiplier[0],
        "so": attrs.requant.shift[0],
        "out_zp": attrs.output_zero_point,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    return (binary_call("mul", node, graph, params, ()),)


OPERATOR = Operator(
    name="mul",
    summary="multiplication",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, viewable),
    tflite=("MUL",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
    to_onnx=to_onnx,
)
