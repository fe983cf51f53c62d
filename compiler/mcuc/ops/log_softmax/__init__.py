"""The logarithm of softmax over the last axis, in fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from mcuc.fixed_point import LogSoftmax, log_softmax
from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.ops._base import Operator, Shape, int8_runtime, no_cost
from mcuc.ops.log_softmax.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.log_softmax.tflite import as_tflite, from_tflite, to_tflite
from mcuc.ops.softmax import short_rows


def infer(attrs: LogSoftmax, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: LogSoftmax, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 of any shape, along the last axis."""
    x = arrays[0]
    assert x is not None
    return (log_softmax(x, attrs),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the softmax family, each vector a pixel."""
    attrs: LogSoftmax = node.attrs
    shape = graph.tensors[node.outputs[0]].shape
    classes = shape[-1]
    width = prod(shape) // max(1, classes)
    values = np.stack([np.array(attrs.exps, np.int32), np.array(attrs.diffs, np.int32)], axis=-1)
    params = {
        "kind": "log",
        "classes": classes,
        "factor": attrs.factor,
        "shift": attrs.shift,
        "zero_point": attrs.zero_point,
    }
    rows = Rows(0, width * classes, 1, columns=Columns(classes))
    table = Table("table", "int32_t", values.reshape(-1))
    return (
        Call("softmax", params, (table,), (rows,), 1, width, classes, width * classes, classes, whole_channels=True),
    )


OPERATOR = Operator(
    name="log_softmax",
    summary="logarithm of softmax over the last axis",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, short_rows),
    tflite=("LOG_SOFTMAX",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    as_tflite=as_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    in_place=True,
)
