"""One of two values by a truth value, element by element with broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Built, Exported, Imported, Operator, no_cost
from mcuc.ops._binary import binary_call, infer, viewable
from mcuc.ops._bool import checked_bool
from mcuc.ops._onnx import activation

_VALUES = (DType.INT8, DType.BOOL, DType.INT16)


@dataclass(frozen=True)
class SelectAttrs:
    """Nothing to choose: the second input where the first is true, else the third, their integers as they are."""


def from_tflite(node: Imported) -> Built:
    """SELECT (condition of the values' shape or of one element) and SELECT_V2 (any broadcast)."""
    condition, values = checked_bool(node, 0), (node.input(1), node.input(2))
    if node.kind == "SELECT" and condition.elements != 1 and condition.shape != values[0].shape:
        raise McucError(
            "unsupported",
            f"SELECT by a condition of shape {condition.shape} from values of shape {values[0].shape}",
            where=node.where,
            try_this="use tf.where, which becomes SELECT_V2",
        )
    found = {(t.dtype, t.quant) for t in (*values, node.outputs[0])}
    if len(found) > 1:
        raise McucError(
            "unsupported-quantization",
            f"{node.kind} between tensors of different types or scales",
            where=node.where,
            try_this="quantize both values and the result alike",
        )
    return Built("select", (condition.name, *(v.name for v in values)), SelectAttrs())


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As SELECT_V2."""
    return Exported("SELECT_V2", "SelectV2Options")


def from_onnx(node: Imported) -> Built:
    """Where of a truth value and two operands in the output's integers: quantizing first changes nothing."""
    return Built("select", (checked_bool(node, 0).name, activation(node, 1).name, activation(node, 2).name),
                 SelectAttrs())


def reference(attrs: SelectAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """bool condition and two arrays of one type, broadcast."""
    condition, a, b = arrays
    assert condition is not None and a is not None and b is not None
    return (np.where(condition, a, b),)


def values_by_bool(node: Node, graph: Graph) -> str | None:
    """A bool condition; values are int8, int16 or bool."""
    tensors = [graph.tensors[n] for n in (*node.inputs, *node.outputs)]
    if tensors[0].dtype is not DType.BOOL:
        return f"condition {tensors[0].name!r} is {tensors[0].dtype.value}"
    wrong = [t for t in tensors[1:] if t.dtype not in _VALUES]
    return f"tensor {wrong[0].name!r} is {wrong[0].dtype.value}" if wrong else None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the binary family, of three operands."""
    return (binary_call("select", node, graph, {}, ()),)


OPERATOR = Operator(
    name="select",
    summary="one of two values by a truth value",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(values_by_bool, viewable),
    tflite=("SELECT", "SELECT_V2"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=("Where",),
    from_onnx=from_onnx,
    in_place=True,
)
