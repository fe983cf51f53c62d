"""Addition and subtraction with broadcasting; operands and result of different scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node, Requant
from mcuc.kernels._base import Call
from mcuc.numerics import multiply_by_quantized_multiplier, requantize
from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._binary import binary_call, infer, scalar_table, viewable
from mcuc.ops.add.attrs import LEFT_SHIFT, AddAttrs
from mcuc.ops.add.onnx import to_onnx
from mcuc.ops.add.tflite import from_tflite, to_tflite


def _rescaled(x: Array, zero_point: int, rule: Requant) -> Array:
    shifted = (x.astype(np.int64) - zero_point) << LEFT_SHIFT
    return multiply_by_quantized_multiplier(shifted, rule.multiplier[0], rule.shift[0])


def reference(attrs: AddAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: a and b int8, broadcast against each other."""
    a, b = arrays[0], arrays[1]
    assert a is not None and b is not None
    left = _rescaled(a, attrs.zero_points[0], attrs.requants[0])
    right = _rescaled(b, attrs.zero_points[1], attrs.requants[1])
    total = left - right if attrs.subtract else left + right
    out = requantize(total.reshape(-1, 1), attrs.requant, attrs.output_zero_point, *attrs.clamp)
    return (out.reshape(total.shape),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A table where one operand is a constant scalar, else one call of the binary family."""
    attrs: AddAttrs = node.attrs
    table = scalar_table(node, graph, reference)
    if table is not None:
        return (table,)
    params: dict[str, Any] = {
        "za": attrs.zero_points[0],
        "zb": attrs.zero_points[1],
        "left_shift": LEFT_SHIFT,
        "subtract": attrs.subtract,
        "ma": attrs.requants[0].multiplier[0],
        "sa": attrs.requants[0].shift[0],
        "mb": attrs.requants[1].multiplier[0],
        "sb": attrs.requants[1].shift[0],
        "mo": attrs.requant.multiplier[0],
        "so": attrs.requant.shift[0],
        "out_zp": attrs.output_zero_point,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    return (binary_call("add", node, graph, params, ()),)


OPERATOR = Operator(
    name="add",
    summary="addition, subtraction",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, viewable),
    tflite=("ADD", "SUB"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
    to_onnx=to_onnx,
)
