"""Norms, largest and smallest along any axes. (Plain sums are means without the division, see ops/mean.)

A sum becomes an output by thresholds: whatever monotone function of the sum a runtime computes in float (scaling,
square roots, logarithms), 255 integers say where its result changes, exactly and without floating point on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call, Table
from mcuc.numerics import step_of
from mcuc.ops._axes import reduced, walk, walkable
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops.reduce.attrs import ReduceAttrs
from mcuc.ops.reduce.onnx import KINDS, from_onnx
from mcuc.ops.reduce.tflite import TFLITE, from_tflite, to_tflite


def infer(attrs: ReduceAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape without the axes, or with 1 in their places."""
    return (reduced(inputs[0].shape, attrs.axes, attrs.keep_dims),)


def reference(attrs: ReduceAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 (or bool without steps) of any rank."""
    x = arrays[0]
    assert x is not None
    if attrs.kind != "sum":
        function = np.max if attrs.kind == "max" else np.min
        return (np.asarray(function(x, axis=attrs.axes, keepdims=attrs.keep_dims)),)
    worth = np.array(attrs.values, np.int64)[x.astype(np.int64) + 128] if attrs.values else x.astype(np.int64)
    return (np.asarray(step_of(worth.sum(axis=attrs.axes, keepdims=attrs.keep_dims), attrs.steps)),)


def one_byte(node: Node, graph: Graph) -> str | None:
    """Tensors are int8; bool for any and all."""
    kinds = {graph.tensors[n].dtype for n in (node.inputs[0], *node.outputs)}
    allowed = (DType.INT8,) if node.attrs.kind == "sum" else (DType.INT8, DType.BOOL)
    found = " and ".join(sorted(k.value for k in kinds))
    return None if len(kinds) == 1 and kinds <= set(allowed) else f"tensors of {found}"


def fits_int32(node: Node, graph: Graph) -> str | None:
    """Sums fit into 32 bits."""
    attrs: ReduceAttrs = node.attrs
    shape = graph.tensors[node.inputs[0]].shape
    most = max((abs(v) for v in attrs.values), default=128)
    count = int(np.prod([shape[a] for a in attrs.axes], dtype=np.int64))
    return f"{count} values of up to {most}" if attrs.kind == "sum" and count * most >= 1 << 31 else None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the mean family: each output element walks through nested strides of one input row."""
    attrs: ReduceAttrs = node.attrs
    way = walk(graph.tensors[node.inputs[0]].shape, attrs.axes)
    assert way is not None
    params: dict[str, Any] = {
        "kind": attrs.kind,
        "valued": bool(attrs.values),
        "start": 0,
        "x_stride": way.x_stride,
        "c_stride": way.c_stride,
        "loops": way.loops,
        "stepped": True,
    }
    tables = []
    if attrs.values:
        tables.append(Table("values", "int32_t", np.roll(np.array(attrs.values, np.int64), -128)))
    if attrs.steps:
        tables.append(Table("steps", "int32_t", np.array(attrs.steps, np.int64)))
    h, w, c = way.kept
    return (Call("mean", params, tuple(tables), (way.rows,), h, w, c, w * c, c),)


OPERATOR = Operator(
    name="reduce",
    summary="largest, smallest along axes; norms; any and all of truth values",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(one_byte, walkable, fits_int32),
    tflite=tuple(TFLITE),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
)
