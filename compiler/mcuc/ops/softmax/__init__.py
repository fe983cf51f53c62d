"""Softmax over the last axis, exact with a table of the fixed-point exponential."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from mcuc import numerics
from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.ops._base import Operator, Shape, int8_runtime, no_cost
from mcuc.ops.softmax.attrs import SoftmaxAttrs
from mcuc.ops.softmax.onnx import to_onnx
from mcuc.ops.softmax.tflite import from_tflite, to_tflite


def infer(attrs: SoftmaxAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: SoftmaxAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 of any shape, probabilities along the last axis."""
    x = arrays[0]
    assert x is not None
    return (numerics.softmax(x, attrs.table),)


def short_rows(node: Node, graph: Graph) -> str | None:
    """At most 4095 classes: TFLite sums the exponentials in 12 integer bits."""
    classes = graph.tensors[node.inputs[0]].shape[-1]
    return f"{classes} classes" if classes > 4095 else None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the softmax family, each vector a pixel."""
    shape = graph.tensors[node.outputs[0]].shape
    classes = shape[-1]
    width = prod(shape) // max(1, classes)
    table = Table("table", "int32_t", np.array(node.attrs.table, np.int32))
    rows = Rows(0, width * classes, 1, columns=Columns(classes))
    return (
        Call(
            "softmax",
            {"classes": classes},
            (table,),
            (rows,),
            1,
            width,
            classes,
            width * classes,
            classes,
            whole_channels=True,
        ),
    )


OPERATOR = Operator(
    name="softmax",
    summary="softmax over the last axis",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, short_rows),
    tflite=("SOFTMAX",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
    to_onnx=to_onnx,
)
