"""A tensor with a box of it replaced, which begins where the data say: key and value caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call, Rows
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost
from mcuc.ops._move import strides


@dataclass(frozen=True)
class UpdateSliceAttrs:
    """A box that would reach outside is moved inside."""


def from_tflite(node: Imported) -> Built:
    """DYNAMIC_UPDATE_SLICE of operand, update and one int32 start for each axis."""
    x, update, start = (node.input(i) for i in range(3))
    fits = len(x.shape) == len(update.shape) >= 1 and x.dtype is update.dtype
    if not fits or any(u > n for u, n in zip(update.shape, x.shape, strict=True)) or start.shape != (len(x.shape),):
        raise McucError(
            "broken-model",
            f"DYNAMIC_UPDATE_SLICE of {x.shape} by {update.shape} at {start.shape}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    return Built("update_slice", (x.name, update.name, start.name), UpdateSliceAttrs())


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As DYNAMIC_UPDATE_SLICE."""
    return Exported("DYNAMIC_UPDATE_SLICE", "DynamicUpdateSliceOptions")


def infer(attrs: UpdateSliceAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The operand's shape."""
    return (inputs[0].shape,)


def reference(attrs: UpdateSliceAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Operand and update of any type, integer starts."""
    x, update, start = arrays
    assert x is not None and update is not None and start is not None
    room = np.array(x.shape) - np.array(update.shape)
    first = np.clip(start.astype(np.int64), 0, room)
    out = x.copy()
    out[tuple(slice(int(a), int(a) + n) for a, n in zip(first, update.shape, strict=True))] = update
    return (out,)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the move family: a pixel is a run along the last axis."""
    x, update, start = (graph.tensors[n] for n in node.inputs)
    size = x.dtype.bytes
    run, wide = x.shape[-1] * size, update.shape[-1] * size
    outer = tuple(zip(x.shape[:-1], update.shape[:-1], strides(update.shape[:-1]), strict=True))
    width = prod(x.shape[:-1])
    rows = (Rows(0, x.bytes, 1), Rows(1, update.bytes, 1), Rows(2, start.bytes, 1))
    params = {"kind": "update", "outer": outer, "run": run, "update_run": wide, "size": size, "rank": len(x.shape)}
    return (Call("move", params, (), rows, 1, width, run, width * run, run),)


def run_time_values(node: Node, graph: Graph) -> str | None:
    """Operand, update and starts are computed at run time, the starts int32."""
    for name in node.inputs:
        if graph.tensors[name].data is not None:
            return f"{name!r} is a constant"
    start, x = graph.tensors[node.inputs[2]], graph.tensors[node.inputs[0]]
    if start.dtype is not DType.INT32 or x.dtype is DType.FLOAT32:
        return f"starts {start.name!r} are {start.dtype.value}, {x.name!r} is {x.dtype.value}"
    return None


OPERATOR = Operator(
    name="update_slice",
    summary="replace a box that begins where the data say",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(run_time_values,),
    tflite=("DYNAMIC_UPDATE_SLICE",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
