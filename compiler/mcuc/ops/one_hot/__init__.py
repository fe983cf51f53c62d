"""One-hot rows: at the position that an index names one value, at all others the other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost
from mcuc.ops._move import INDEX_TYPES
from mcuc.ops._tflite import beyond_micro
from mcuc.ops.one_hot.onnx import KINDS, from_onnx, to_onnx


@dataclass(frozen=True)
class OneHotAttrs:
    """depth: length of a row. on, off: its values, int8. An index outside the row names none. wrap: a negative one
    counts from the row's end."""

    depth: int
    on: int
    off: int
    wrap: bool = False


def from_tflite(node: Imported) -> Built:
    """ONE_HOT along a new last axis; depth and values are constants."""
    indices, out = node.input(0), node.outputs[0]
    depth, on, off = (node.constant(i).reshape(-1) for i in (1, 2, 3))
    axis = int(node.options.axis)
    if axis not in (-1, len(indices.shape)) or not depth.size == on.size == off.size == 1:
        raise McucError(
            "unsupported-one-hot",
            f"ONE_HOT along axis {axis} of indices of shape {indices.shape}",
            where=node.where,
            try_this="one-hot along a new last axis, with one depth and two values",
        )
    if {node.input(i).dtype for i in (2, 3)} != {out.dtype} or out.dtype is not DType.INT8 or int(depth[0]) < 1:
        raise McucError(
            "unsupported-one-hot",
            f"ONE_HOT of {out.dtype.value} rows of {int(depth[0])}",
            where=node.where,
            try_this="one-hot into int8",
        )
    attrs = OneHotAttrs(int(depth[0]), int(on[0]), int(off[0]))
    return Built("one_hot", (indices.name,), attrs, notes=beyond_micro(node, "ONE_HOT"))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As ONE_HOT."""
    attrs: OneHotAttrs = node.attrs
    out = graph.tensors[node.outputs[0]]

    def constant(what: str, value: int, dtype: DType) -> Tensor:
        quant = None if what == "depth" else out.quant
        return Tensor(f"{out.name}/{what}", (), dtype, quant, np.array(value, dtype.value))

    parts = (
        constant("depth", attrs.depth, DType.INT32),
        constant("on", attrs.on, out.dtype),
        constant("off", attrs.off, out.dtype),
    )
    return Exported("ONE_HOT", "OneHotOptions", {"axis": -1}, (node.inputs[0], *(t.name for t in parts)), parts)


def infer(attrs: OneHotAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The indices' shape, and the depth behind it."""
    return ((*inputs[0].shape, attrs.depth),)


def reference(attrs: OneHotAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer indices -> int8."""
    indices = arrays[0]
    assert indices is not None
    wide = indices[..., None].astype(np.int64)
    if attrs.wrap:
        wide = np.where(wide < 0, wide + attrs.depth, wide)
    hot = wide == np.arange(attrs.depth)
    return (np.where(hot, attrs.on, attrs.off).astype(np.int8),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the move family: a row of indices, a pixel of `depth` bytes each."""
    attrs: OneHotAttrs = node.attrs
    indices = graph.tensors[node.inputs[0]]
    width, count = indices.dtype.bytes, indices.elements
    rows = Rows(0, indices.bytes, 1, columns=Columns(width))
    load = f"mcuc_load_i{8 * width}"
    params = {"kind": "one_hot", "index_bytes": width, "load": load, "on": attrs.on, "off": attrs.off}
    params |= {"depth": attrs.depth, "wrap": attrs.wrap}
    return (Call("move", params, (), (rows,), 1, count, attrs.depth, count * attrs.depth, attrs.depth),)


def small_indices(node: Node, graph: Graph) -> str | None:
    """Indices are int8, int16 or int32."""
    indices = graph.tensors[node.inputs[0]]
    if indices.dtype not in INDEX_TYPES:
        return f"indices {indices.name!r} are {indices.dtype.value}"
    return "not folded into a constant" if indices.data is not None else None


OPERATOR = Operator(
    name="one_hot",
    summary="one-hot rows of indices",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(small_indices,),
    tflite=("ONE_HOT",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
