"""Functions of one int16 value: sigmoid and tanh by interpolation, leaky relu, relu, relu6, absolute value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call, Table
from mcuc.numerics import multiply_by_quantized_multiplier
from mcuc.numerics16 import sigmoid16, sigmoid16_table, tanh16
from mcuc.ops._base import Operator, int16_runtime, no_cost
from mcuc.ops._unary import infer
from mcuc.ops._wide import unary16_call
from mcuc.ops.unary_16.attrs import Unary16Attrs
from mcuc.ops.unary_16.tflite import KINDS, from_tflite, to_tflite

_CURVES = {"sigmoid": sigmoid16, "tanh": tanh16}


def reference(attrs: Unary16Attrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int16 of any shape."""
    x = arrays[0]
    assert x is not None
    values = x.astype(np.int64)
    if attrs.kind in _CURVES:
        half = 1 << (attrs.shift - 1) if attrs.shift else 0
        out = _CURVES[attrs.kind]((values * attrs.multiplier + half) >> attrs.shift)
    else:
        positive = multiply_by_quantized_multiplier(values, attrs.multiplier, attrs.shift)
        negative = multiply_by_quantized_multiplier(values, *attrs.negative) if attrs.negative else positive
        out = np.where(values >= 0, positive, negative)
    return (np.clip(out, *attrs.clamp).astype(np.int16),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the unary16 family."""
    attrs: Unary16Attrs = node.attrs
    params: dict[str, Any] = {
        "kind": attrs.kind,
        "multiplier": attrs.multiplier,
        "shift": attrs.shift,
        "negative": attrs.negative,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    tables = (Table("table", "int16_t", sigmoid16_table()),) if attrs.kind in _CURVES else ()
    return (unary16_call(params, tables, graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]),)


OPERATOR = Operator(
    name="unary_16",
    summary="sigmoid, tanh, leaky relu, relu, relu6 and absolute value of int16 activations",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int16_runtime,),
    tflite=KINDS,
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
    wide=True,
)
