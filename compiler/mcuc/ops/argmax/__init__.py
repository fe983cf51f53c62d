"""The index of the largest value along the last axis, of equal values the first."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops.argmax.attrs import ArgmaxAttrs
from mcuc.ops.argmax.tflite import from_tflite, to_tflite


def infer(attrs: ArgmaxAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape without its last axis."""
    return (inputs[0].shape[:-1],)


def reference(attrs: ArgmaxAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """int32 indices of int8 values of any shape."""
    x = arrays[0]
    assert x is not None
    return (x.argmax(axis=-1).astype(np.int32),)


def int8_to_index(node: Node, graph: Graph) -> str | None:
    """int8 values with a last axis; indices of 32 bits."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if (x.dtype.value, out.dtype.value) != ("int8", "int32"):
        return f"from {x.dtype.value} to {out.dtype.value}"
    return None if x.shape and x.shape[-1] else f"an input of shape {x.shape}"


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the argmax family, each vector a pixel."""
    shape = graph.tensors[node.inputs[0]].shape
    classes, width = shape[-1], prod(shape[:-1])
    rows = Rows(0, width * classes, 1, columns=Columns(classes))
    params = {"classes": classes}
    return (Call("argmax", params, (), (rows,), 1, width, 1, width * 4, 4, whole_channels=True),)


OPERATOR = Operator(
    name="argmax",
    summary="index of the largest value along the last axis",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_to_index,),
    tflite=("ARG_MAX",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
