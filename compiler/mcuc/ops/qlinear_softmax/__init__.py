"""Softmax in float32 steps, as ONNX Runtime's QLinearSoftmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.ops._base import Operator, Shape, int8_runtime, no_cost
from mcuc.ops.qlinear_softmax.attrs import QLinearSoftmaxAttrs
from mcuc.ops.qlinear_softmax.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.qlinear_softmax.tflite import as_tflite


def infer(attrs: QLinearSoftmaxAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: QLinearSoftmaxAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """float32 reference in the runtime's order: x int8 of any shape, probabilities along the last axis."""
    x = arrays[0]
    assert x is not None
    values = x.astype(np.int64)
    e = np.array(attrs.table, np.float32)[255 - values.max(axis=-1, keepdims=True) + values]
    total = np.zeros((*e.shape[:-1], 1), np.float32)
    for i in range(e.shape[-1]):
        total = (total + e[..., i : i + 1]).astype(np.float32)
    share = ((e * np.float32(attrs.factor)).astype(np.float32) / total).astype(np.float32)
    return (np.clip(np.rint(share).astype(np.int64) + attrs.zero_point, -128, 127).astype(np.int8),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the softmax family, each vector a pixel."""
    attrs: QLinearSoftmaxAttrs = node.attrs
    shape = graph.tensors[node.outputs[0]].shape
    classes = shape[-1]
    width = prod(shape) // max(1, classes)
    table = Table("table", "int32_t", np.array(attrs.table, np.float32).view(np.int32))
    params = {
        "kind": "float32",
        "classes": classes,
        "factor": f"{int(attrs.factor)}.0f",
        "zero_point": attrs.zero_point,
    }
    rows = Rows(0, width * classes, 1, columns=Columns(classes))
    return (
        Call("softmax", params, (table,), (rows,), 1, width, classes, width * classes, classes, whole_channels=True),
    )


OPERATOR = Operator(
    name="qlinear_softmax",
    summary="softmax in float32 steps (ONNX)",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime,),
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    as_tflite=as_tflite,
    in_place=True,
)
