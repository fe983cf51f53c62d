"""Gather: slices along an axis, by indices that are constants or computed at run time.

At run time an index outside the axis takes the nearest slice (TFLite Micro would read past the end of the tensor).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops._move import INDEX_TYPES, indexed_call, inside, most_rows, take_call
from mcuc.ops.gather.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.gather.tflite import from_tflite, to_tflite


@dataclass(frozen=True)
class GatherAttrs:
    """axis: of the data, counted from the front. batch: leading axes that data and indices share.

    nearest: an index outside the axis takes the nearest slice, else it is an error. wrap: a negative index counts from
    the end.
    """

    axis: int
    batch: int = 0
    nearest: bool = False
    wrap: bool = True


def infer(attrs: GatherAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The data's shape with the indices' shape, less the batch, in place of the axis. Raises ValueError for batches
    that differ."""
    shape, indices = inputs[0].shape, inputs[1].shape
    if shape[: attrs.batch] != indices[: attrs.batch]:
        raise ValueError(f"batches {shape[: attrs.batch]} and {indices[: attrs.batch]}")
    return ((*shape[: attrs.axis], *indices[attrs.batch :], *shape[attrs.axis + 1 :]),)


def reference(attrs: GatherAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Data of any type, integer indices. Raises McucError outside the axis, unless the nearest slice is taken."""
    x, indices = arrays[0], arrays[1]
    assert x is not None and indices is not None
    extent = x.shape[attrs.axis]
    lowest = -extent if attrs.wrap else 0
    if not attrs.nearest and indices.size and (int(indices.min()) < lowest or int(indices.max()) >= extent):
        raise McucError(
            "broken-model",
            f"GATHER index outside an axis of {extent}",
            where="operator GATHER",
            try_this="check that the model file is complete",
        )
    places = inside(indices, extent, attrs.wrap)
    if not attrs.batch:
        return (np.take(x, places, attrs.axis),)
    batch = x.shape[: attrs.batch]
    parts = [
        np.take(a, i, attrs.axis - attrs.batch)
        for a, i in zip(
            x.reshape(-1, *x.shape[attrs.batch :]), places.reshape(-1, *places.shape[attrs.batch :]), strict=True
        )
    ]
    return (np.stack(parts).reshape(*batch, *parts[0].shape),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """Constant indices: rows and columns by tables. Else indices are read as the kernel goes."""
    attrs: GatherAttrs = node.attrs
    x, indices = (graph.tensors[n] for n in node.inputs)
    shape, size, axis = x.shape, x.dtype.bytes, attrs.axis
    if indices.data is not None:
        places = inside(indices.data.reshape(-1), shape[axis], attrs.wrap)
        chosen: list[tuple[int, ...] | None] = [None] * len(shape)
        chosen[axis] = tuple(int(i) for i in places)
        return (take_call(shape, chosen, size),)
    run = prod(shape[axis + 1 :]) * size
    count = indices.elements // prod(shape[: attrs.batch])
    rows = (prod(shape[:axis]), shape[axis] * run)  # one of constant data: one_row_of_constants
    return (indexed_call(x, indices, [(shape[axis], run)], rows, run, count, attrs.wrap),)


def known_or_small(node: Node, graph: Graph) -> str | None:
    """Data are integers or bools; indices are constants (of one shared batch), or int8, int16 or int32."""
    attrs: GatherAttrs = node.attrs
    x, indices = (graph.tensors[n] for n in node.inputs)
    out = graph.tensors[node.outputs[0]]
    if x.dtype is DType.FLOAT32 or x.dtype is not out.dtype:
        return f"tensor {x.name!r} is {x.dtype.value}, {out.name!r} {out.dtype.value}"
    if indices.data is None and indices.dtype not in INDEX_TYPES:
        return f"indices {indices.name!r} are {indices.dtype.value}"
    if indices.data is not None and x.data is not None:
        return "not folded into a constant"
    if indices.data is not None and attrs.batch and prod(x.shape[: attrs.batch]) > 1:
        return f"constant indices {indices.name!r} differ by batch"
    return None


def countable_rows(node: Node, graph: Graph) -> str | None:
    """Where rows are found by number, the data have at most 32,767 of them."""
    x, indices = (graph.tensors[n] for n in node.inputs)
    axis = node.attrs.axis
    if indices.data is not None:
        chosen: list[tuple[int, ...] | None] = [None] * len(x.shape)
        chosen[axis] = (0,)
        rows = most_rows(x.shape, chosen)
    else:
        rows = 0 if prod(x.shape[:axis]) == prod(x.shape[: node.attrs.batch]) else prod(x.shape[:axis])
    return f"tensor {x.name!r} has {rows} rows" if rows > 32767 else None


def one_row_of_constants(node: Node, graph: Graph) -> str | None:
    """Constant data are gathered along their first axis."""
    x = graph.tensors[node.inputs[0]]
    if x.data is not None and prod(x.shape[: node.attrs.axis]) > 1:
        return f"constant {x.name!r} of shape {x.shape} is gathered along axis {node.attrs.axis}"
    return None


OPERATOR = Operator(
    name="gather",
    summary="pick slices by indices, embedding lookup; an index outside at run time takes the nearest",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(known_or_small, countable_rows, one_row_of_constants),
    tflite=("EMBEDDING_LOOKUP", "GATHER"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
