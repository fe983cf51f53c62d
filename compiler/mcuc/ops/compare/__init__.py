"""Comparisons element by element, with broadcasting; the answer is a truth value.

The runtimes rescale both operands before they compare. Each rescaled operand is a function of one byte, so that what
counts is its rank among all values that either operand can take: two tables of 256 ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, DType, Graph, Node
from mcuc.kernels._base import Call, Table
from mcuc.ops._base import Operator, no_cost
from mcuc.ops._binary import binary_call, infer, scalar_constant, viewable
from mcuc.ops._unary import table_call
from mcuc.ops.compare.attrs import FUNCTIONS, CompareAttrs
from mcuc.ops.compare.onnx import KINDS, from_onnx
from mcuc.ops.compare.tflite import TFLITE, as_tflite, from_tflite, to_tflite


def _ranks(table: bytes, x: Array) -> Array:
    return x.astype(np.int64) if not table else np.frombuffer(table, np.int16)[x.view(np.uint8)].astype(np.int64)


def reference(attrs: CompareAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: a and b int8 (of any integer type without tables), broadcast against each other."""
    a, b = arrays[0], arrays[1]
    assert a is not None and b is not None
    return (np.asarray(FUNCTIONS[attrs.kind](_ranks(attrs.left, a), _ranks(attrs.right, b))),)


def bytes_to_bool(node: Node, graph: Graph) -> str | None:
    """Operands are int8 or bool, the answer is bool (int32 and int64 at compile time)."""
    for name in node.inputs:
        if graph.tensors[name].dtype not in (DType.INT8, DType.BOOL):
            return f"tensor {name!r} is {graph.tensors[name].dtype.value}"
    out = graph.tensors[node.outputs[0]]
    return None if out.dtype is DType.BOOL else f"tensor {out.name!r} is {out.dtype.value}"


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A table where one operand is a constant scalar, else one call of the binary family."""
    attrs: CompareAttrs = node.attrs
    scalar = scalar_constant(node, graph)
    if scalar is not None:
        every, one = np.arange(256, dtype=np.uint8).view(np.int8), graph.const(node.inputs[scalar]).reshape(1)
        one = one.view(np.int8) if one.dtype == bool else one
        (values,) = reference(attrs, (one, every) if scalar == 0 else (every, one))
        return (table_call(values.astype(np.uint8).tobytes(), graph.tensors[node.outputs[0]].shape),)
    ranks = [(name, np.frombuffer(table, np.int16)) for name, table in (("left", attrs.left), ("right", attrs.right))]
    tables = tuple(Table(name, "int16_t", values) for name, values in ranks if values.size)
    return (binary_call(attrs.kind, node, graph, {"ranked": bool(tables)}, tables),)


OPERATOR = Operator(
    name="compare",
    summary="equal, not equal, less, less or equal, greater, greater or equal",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(bytes_to_bool, viewable),
    tflite=tuple(TFLITE),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    as_tflite=as_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    in_place=True,
)
