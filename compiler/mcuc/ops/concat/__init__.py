"""Concatenate along any axis; parts of another quantization than the output are rescaled by table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Table
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops._move import as_bytes, copy_call, element_bytes, moved_types
from mcuc.ops._unary import table_call, table_lookup
from mcuc.ops.concat.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.concat.tflite import from_tflite, to_tflite


@dataclass(frozen=True)
class ConcatAttrs:
    """axis: counted from the front. tables: for each input b"" (its bytes are copied) or 256 output bytes."""

    axis: int
    tables: tuple[bytes, ...]


def infer(attrs: ConcatAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The axis' extents added up. Raises ValueError when the other axes differ."""
    shape = list(inputs[0].shape)
    shape[attrs.axis] = sum(t.shape[attrs.axis] for t in inputs)
    for t in inputs:
        if len(t.shape) != len(shape) or any(t.shape[i] != n for i, n in enumerate(shape) if i != attrs.axis):
            raise ValueError(f"cannot concatenate {[x.shape for x in inputs]} along axis {attrs.axis}")
    return (tuple(shape),)


def reference(attrs: ConcatAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Arrays of one type; int8 where tables are given."""
    parts = [x if not t else table_lookup(t, x) for x, t in zip(arrays, attrs.tables, strict=True) if x is not None]
    return (np.concatenate(parts, attrs.axis),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call per input into its slice of the output: move, or unary where it has a table."""
    size = element_bytes(node, graph)
    whole = graph.tensors[node.outputs[0]].shape
    if size > 1:
        whole = (*whole, size)
    axis = node.attrs.axis
    inner = prod(whole[axis + 1 :])
    calls, at, source = [], 0, 0
    for name, table in zip(node.inputs, node.attrs.tables, strict=True):
        tensor = graph.tensors[name]
        part = tensor.shape if size == 1 else (*tensor.shape, size)
        if tensor.data is not None:
            data = table_lookup(table, tensor.data) if table else tensor.data
            calls.append(_constant(data, part, whole, axis, at * inner))
        else:
            calls.append(_part(part, whole, axis, at * inner, source, table))
            source += 1
        at += part[axis]
    return tuple(calls)


def _part(part: tuple[int, ...], whole: tuple[int, ...], axis: int, offset: int, source: int, table: bytes) -> Call:
    """The axes before `axis` are pixels (rows and pixels of an image), the rest of a part is one run of bytes."""
    run, out_run = prod(part[axis:]), prod(whole[axis:])
    h, w = (part[1], part[2]) if len(part) == 4 and part[0] == 1 and axis == 3 else (1, prod(part[:axis]))
    if axis == 2 and len(part) == 4 and part[0] == 1:
        h, w = part[1], 1
    call = copy_call(h, w, run, source=source, out_row_bytes=w * out_run, out_stride=out_run, out_offset=offset)
    if not table:
        return call
    unary = table_call(table, (1, h, w, run))
    return replace(call, family="unary", params=unary.params, tables=unary.tables)


def _constant(data: Array, part: tuple[int, ...], whole: tuple[int, ...], axis: int, offset: int) -> Call:
    """A part that is known: its bytes are a table."""
    run, out_run, w = prod(part[axis:]), prod(whole[axis:]), prod(part[:axis])
    params = {"kind": "constant", "in_c": run}
    table = Table("values", "int8_t", as_bytes(data))
    return Call("move", params, (table,), (), 1, w, run, w * out_run, out_run, offset)


OPERATOR = Operator(
    name="concat",
    summary="concatenate",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(moved_types,),
    tflite=("CONCATENATION",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
