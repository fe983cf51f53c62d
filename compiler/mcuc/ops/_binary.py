"""What element-wise operators of several tensors share: broadcasting seen as height x width x channels with strides,
and the binary family's call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.kernels.binary import OPERANDS
from mcuc.ops._base import Shape
from mcuc.ops._unary import make_table, table_call

Dim = tuple[int, tuple[bool, ...]]  # size, and whether each operand varies along it


def infer(attrs: Any, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The broadcast shape of the inputs."""
    return (tuple(np.broadcast_shapes(*(t.shape for t in inputs))),)


def dims(out: Shape, operands: Sequence[Shape], constants: Sequence[bool]) -> list[Dim]:
    """The output as at most three dimensions h, w, c where that is possible, more otherwise.

    Rank 4 with batch 1 keeps its own; a constant never varies along h (its row would not be known to the kernel).
    """
    padded = [(1,) * (len(out) - len(s)) + tuple(s) for s in operands]
    found: list[Dim] = [(size, tuple(p[i] != 1 for p in padded)) for i, size in enumerate(out) if size != 1]
    tall = len(found) == 3 and any(c and found[0][1][k] for k, c in enumerate(constants))
    if len(found) > 3 or tall:
        merged: list[Dim] = []
        for size, varies in found:
            if merged and merged[-1][1] == varies:
                merged[-1] = (merged[-1][0] * size, varies)
            else:
                merged.append((size, varies))
        found = merged
    if len(found) == 3 and any(c and found[0][1][k] for k, c in enumerate(constants)):
        (h, _), (w, _), last = found  # the constant is spelled out over h and w, the other operands as well
        found = [(h * w, (True,) * len(operands)), last]
    return [(1, (False,) * len(operands))] * (3 - len(found)) + found


def _view(node: Node, graph: Graph) -> list[Dim]:
    tensors = [graph.tensors[n] for n in node.inputs]
    shapes, constants = [t.shape for t in tensors], [t.data is not None for t in tensors]
    return dims(graph.tensors[node.outputs[0]].shape, shapes, constants)


def viewable(node: Node, graph: Graph) -> str | None:
    """Broadcasting that can be written with three strides (any, for batch 1 and rank 4), not both constant."""
    tensors = [graph.tensors[n] for n in node.inputs]
    found = _view(node, graph)
    if len(found) > 3:
        return f"shapes {' and '.join(str(t.shape) for t in tensors)}"
    for k, tensor in enumerate(tensors):
        if tensor.data is None and tensor.elements != prod(size for size, varies in found if varies[k]):
            return f"a run-time operand of shape {tensor.shape} spread over a larger constant"
    return None


def binary_call(kind: str, node: Node, graph: Graph, params: Mapping[str, Any], tables: tuple[Table, ...]) -> Call:
    """A call of the binary family; kind is the function ("add", "max", ...), params and tables its constants.

    Operands are called a, b, ... in the order of the node's inputs; all of one byte an element; where the output is
    int16 the call is of the binary16 family, with strides and channels in bytes.
    """
    size = graph.tensors[node.outputs[0]].dtype.bytes
    tensors = [graph.tensors[n] for n in node.inputs]
    out_shape = graph.tensors[node.outputs[0]].shape
    found = _view(node, graph)
    (h, _), (w, _), (c, _) = found
    rows: list[Rows] = []
    operands: list[dict[str, Any]] = []
    constants: list[Table] = []
    for k, tensor in enumerate(tensors):
        on = [varies[k] for _, varies in found]
        own = tensor.dtype.bytes
        c_stride = own * on[2]
        x_stride = own * (c if on[2] else 1) if on[1] else 0
        row_bytes = own * (w if on[1] else 1) * (c if on[2] else 1)
        if tensor.data is None:
            runtime = graph.runtime_inputs(node).index(tensor.name)
            operands.append({"source": f"rows[{len(rows)}]", "x_stride": x_stride, "c_stride": c_stride})
            columns = Columns(x_stride) if on[1] else None
            tall = Rows(runtime, row_bytes, h, columns=columns)
            rows.append(tall if on[0] or h == 1 else Rows(runtime, row_bytes, 1, stride=0))
        else:
            values = _spell(tensor.data, out_shape, (h * w, c), (on[1], on[2]))
            name = f"operand{len(constants) or ''}"
            ctype, source = ("int8_t", name) if own == 1 else ("int16_t", f"(const int8_t *){name}")
            constants.append(Table(name, ctype, values if own > 1 else values.view(np.int8)))
            operands.append({"source": source, "x_stride": x_stride, "c_stride": c_stride})
    return Call(
        "binary" if size == 1 else "binary16",
        {"kind": kind, **dict(zip(OPERANDS, operands, strict=False)), **params},
        (*constants, *tables),
        tuple(rows),
        h,
        w,
        size * c,
        size * w * c,
        size * c,
        whole_channels=size > 1,
    )


def _spell(data: Array, out: Shape, view: tuple[int, int], on: tuple[bool, bool]) -> Array:
    """The constant's values along the dimensions (w, c) on which it varies."""
    full = np.broadcast_to(data, out).reshape(view)
    return full[: view[0] if on[0] else 1, : view[1] if on[1] else 1].reshape(-1)


def scalar_constant(node: Node, graph: Graph) -> int | None:
    """Which operand is a constant of one element (the other then is the run-time one), or None."""
    for k in (0, 1) if len(node.inputs) == 2 else ():
        tensor, other = graph.tensors[node.inputs[k]], graph.tensors[node.inputs[1 - k]]
        if tensor.data is not None and tensor.elements == 1 and other.data is None:
            return k
    return None


def scalar_table(
    node: Node, graph: Graph, reference: Callable[[Any, Sequence[Array | None]], tuple[Array, ...]]
) -> Call | None:
    """Where one operand is a constant of one element: the 256 results of the operator's reference as a table call."""
    scalar = scalar_constant(node, graph)
    if scalar is None:
        return None
    every, one = np.arange(-128, 128).astype(np.int8), graph.const(node.inputs[scalar]).reshape(1)
    (values,) = reference(node.attrs, (one, every) if scalar == 0 else (every, one))
    return table_call(make_table(values), graph.tensors[node.outputs[0]].shape)
