"""Gather by index tuples: each picks the rest of the data behind its leading axes.

At run time an index outside its axis takes the nearest element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost
from mcuc.ops._move import INDEX_TYPES, indexed_call, inside, strides, take_call


@dataclass(frozen=True)
class GatherNdAttrs:
    """depth: indices in a tuple, the last axis of the index tensor."""

    depth: int


def from_tflite(node: Imported) -> Built:
    """GATHER_ND; constant indices lie inside the data. Raises McucError where the tuples do not fit the data."""
    x, indices = node.input(0), node.input(1)
    depth = indices.shape[-1] if indices.shape else 0
    integer = indices.dtype.value in ("int8", "int16", "int32", "int64")
    if not integer or not 1 <= depth <= len(x.shape):
        raise McucError(
            "unsupported-gather",
            f"{node.kind} of {x.shape} by {indices.dtype.value}{indices.shape}",
            where=node.where,
            try_this="gather by integer tuples no longer than the data has axes",
        )
    if indices.data is not None:
        tuples, extents = indices.data.reshape(-1, depth), np.array(x.shape[:depth])
        if (tuples >= extents).any() or (tuples < 0).any():
            raise McucError(
                "broken-model",
                f"{node.kind} reads outside {x.shape}",
                where=node.where,
                try_this="check that the model file is complete",
            )
    return Built("gather_nd", (x.name, indices.name), GatherNdAttrs(depth))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As GATHER_ND."""
    return Exported("GATHER_ND", "GatherNdOptions")


def infer(attrs: GatherNdAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The indices' shape without its last axis, then what the tuples leave of the data."""
    return ((*inputs[1].shape[:-1], *inputs[0].shape[attrs.depth :]),)


def reference(attrs: GatherNdAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Data of any type, integer tuples; outside an axis the nearest element."""
    x, indices = arrays[0], arrays[1]
    assert x is not None and indices is not None
    places = tuple(inside(indices[..., k], x.shape[k], False) for k in range(attrs.depth))
    return (x[places],)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """Constant tuples: one axis of all leading ones, by a table. Else indices are read as the kernel goes."""
    attrs: GatherNdAttrs = node.attrs
    x, indices = (graph.tensors[n] for n in node.inputs)
    size = x.dtype.bytes
    led, steps = x.shape[: attrs.depth], strides(x.shape)[: attrs.depth]
    run = prod(x.shape[attrs.depth :]) * size
    if indices.data is not None:
        tuples = indices.data.reshape(-1, attrs.depth)
        flat = np.ravel_multi_index([inside(tuples[:, k], n, False) for k, n in enumerate(led)], led)
        return (take_call((prod(led), run), (tuple(int(i) for i in flat), None), 1),)
    axes = [(n, s * size) for n, s in zip(led, steps, strict=True)]
    count = indices.elements // attrs.depth
    return (indexed_call(x, indices, axes, (1, x.bytes), run, count, False),)


def known_or_small(node: Node, graph: Graph) -> str | None:
    """Data are integers or bools; indices are constants, or int8, int16 or int32."""
    x, indices = (graph.tensors[n] for n in node.inputs)
    out = graph.tensors[node.outputs[0]]
    if x.dtype is DType.FLOAT32 or x.dtype is not out.dtype:
        return f"tensor {x.name!r} is {x.dtype.value}, {out.name!r} {out.dtype.value}"
    if indices.data is None and indices.dtype not in INDEX_TYPES:
        return f"indices {indices.name!r} are {indices.dtype.value}"
    return "not folded into a constant" if indices.data is not None and x.data is not None else None


OPERATOR = Operator(
    name="gather_nd",
    summary="pick by index tuples; an index outside at run time takes the nearest",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(known_or_small,),
    tflite=("GATHER_ND",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
