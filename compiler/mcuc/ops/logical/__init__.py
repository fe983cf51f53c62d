"""And, or, exclusive or, not, element by element, on truth values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Built, Exported, Imported, Operator, no_cost
from mcuc.ops._binary import binary_call, infer, viewable
from mcuc.ops._bool import bool_runtime, checked_bool
from mcuc.ops._unary import table_call

_TFLITE = {"LOGICAL_AND": "and", "LOGICAL_OR": "or", "LOGICAL_NOT": "not"}
_ONNX = {"And": "and", "Or": "or", "Xor": "xor", "Not": "not"}
_NOT = bytes([1, *[0] * 255])
_OPTIONS = {"and": "LogicalAndOptions", "or": "LogicalOrOptions", "not": "LogicalNotOptions"}


@dataclass(frozen=True)
class LogicalAttrs:
    """kind: the function; "not" has one input, the others two."""

    kind: Literal["and", "or", "xor", "not"]


def _built(node: Imported, kind: str) -> Built:
    inputs = tuple(checked_bool(node, i).name for i in range(1 if kind == "not" else 2))
    return Built("logical", inputs, LogicalAttrs(kind))  # type: ignore[arg-type]


def from_tflite(node: Imported) -> Built:
    """LOGICAL_AND, LOGICAL_OR, LOGICAL_NOT."""
    return _built(node, _TFLITE[node.kind])


def to_tflite(node: Node, graph: Graph) -> Exported:
    """The operator of the same name. Raises McucError for exclusive or, which TFLite lacks."""
    kind = next((k for k, v in _TFLITE.items() if v == node.attrs.kind), None)
    if kind is None:
        raise McucError("not-exportable", "TFLite has no exclusive or", where=node.name,
                        try_this="write it as NOT_EQUAL of truth values")
    return Exported(kind, _OPTIONS[node.attrs.kind])


def from_onnx(node: Imported) -> Built:
    """And, Or, Xor, Not."""
    return _built(node, _ONNX[node.kind])


def reference(attrs: LogicalAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """bool arrays, broadcast against each other."""
    a = arrays[0]
    assert a is not None
    if attrs.kind == "not":
        return (np.logical_not(a),)
    b = arrays[1]
    assert b is not None
    function = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[attrs.kind]
    return (np.asarray(function(a, b)),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the binary family; a table for "not"."""
    if node.attrs.kind == "not":
        return (table_call(_NOT, graph.tensors[node.outputs[0]].shape),)
    return (binary_call(node.attrs.kind, node, graph, {}, ()),)


OPERATOR = Operator(
    name="logical",
    summary="and, or, exclusive or, not",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(bool_runtime, viewable),
    tflite=tuple(_TFLITE),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=tuple(_ONNX),
    from_onnx=from_onnx,
    in_place=True,
)
