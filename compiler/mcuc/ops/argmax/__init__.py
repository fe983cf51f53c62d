"""The index of the largest or smallest value along an axis, of equal values the first."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows
from mcuc.ops._axes import reduced
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops.argmax.attrs import ArgmaxAttrs
from mcuc.ops.argmax.onnx import KINDS, from_onnx
from mcuc.ops.argmax.tflite import from_tflite, to_tflite


def infer(attrs: ArgmaxAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape without the axis, or with 1 in its place."""
    shape = inputs[0].shape
    return (reduced(shape, (attrs.axis % max(1, len(shape)),), attrs.keep_dims),)


def reference(attrs: ArgmaxAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """int32 indices of int8 values of any shape."""
    x = arrays[0]
    assert x is not None
    values = -x.astype(np.int64) if attrs.smallest else x.astype(np.int64)
    if attrs.last:
        index = x.shape[attrs.axis] - 1 - np.flip(values, attrs.axis).argmax(axis=attrs.axis, keepdims=attrs.keep_dims)
    else:
        index = values.argmax(axis=attrs.axis, keepdims=attrs.keep_dims)
    return (np.asarray(index).astype(np.int32),)


def int8_to_index(node: Node, graph: Graph) -> str | None:
    """int8 values with at least one axis; indices of 32 bits."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if (x.dtype.value, out.dtype.value) != ("int8", "int32"):
        return f"from {x.dtype.value} to {out.dtype.value}"
    return None if x.shape and x.elements else f"an input of shape {x.shape}"


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the argmax family; along the last axis each vector is a pixel, else each outer index a row."""
    attrs: ArgmaxAttrs = node.attrs
    shape = graph.tensors[node.inputs[0]].shape
    axis = attrs.axis % len(shape)
    classes, outer, inner = shape[axis], prod(shape[:axis]), prod(shape[axis + 1 :])
    better = {(False, False): ">", (False, True): ">=", (True, False): "<", (True, True): "<="}
    params = {"classes": classes, "better": better[attrs.smallest, attrs.last], "inner": inner}
    if inner == 1:
        rows = Rows(0, outer * classes, 1, columns=Columns(classes))
        return (Call("argmax", params, (), (rows,), 1, outer, 1, outer * 4, 4, whole_channels=True),)
    rows = Rows(0, classes * inner, outer, columns=None)
    return (Call("argmax", params, (), (rows,), outer, inner, 1, inner * 4, 4, whole_channels=True),)


OPERATOR = Operator(
    name="argmax",
    summary="index of the largest or smallest value along an axis",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_to_index,),
    tflite=("ARG_MAX", "ARG_MIN"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
)
