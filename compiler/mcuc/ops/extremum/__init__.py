"""The larger or the smaller of two values, element by element with broadcasting; integers are chosen as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Built, Exported, Imported, Operator, int8_runtime, no_cost
from mcuc.ops._binary import binary_call, infer, scalar_constant, viewable
from mcuc.ops._onnx import OnnxNode, activation
from mcuc.ops._tflite import checked_activation
from mcuc.ops._unary import make_table, table_call

_TFLITE = {"MAXIMUM": "max", "MINIMUM": "min"}
_ONNX = {"Max": "max", "Min": "min"}


@dataclass(frozen=True)
class ExtremumAttrs:
    """kind: which of the two is taken."""

    kind: Literal["max", "min"]


def from_tflite(node: Imported) -> Built:
    """MAXIMUM and MINIMUM: TFLite Micro compares the integers, whatever their scales."""
    a, b = checked_activation(node, 0), checked_activation(node, 1)
    return Built("extremum", (a.name, b.name), ExtremumAttrs("max" if node.kind == "MAXIMUM" else "min"))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As MAXIMUM or MINIMUM."""
    kind = next(k for k, v in _TFLITE.items() if v == node.attrs.kind)
    return Exported(kind, "MaximumMinimumOptions")


def from_onnx(node: Imported) -> Built:
    """Max and Min of two operands in the output's integers: quantizing keeps the order, so choosing comes after it."""
    a, b = activation(node, 0), activation(node, 1)
    return Built("extremum", (a.name, b.name), ExtremumAttrs("max" if node.kind == "Max" else "min"))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Max or Min."""
    return OnnxNode("Max" if node.attrs.kind == "max" else "Min", node.inputs)


def reference(attrs: ExtremumAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: a and b of one integer type, broadcast against each other."""
    a, b = arrays[0], arrays[1]
    assert a is not None and b is not None
    return (np.maximum(a, b) if attrs.kind == "max" else np.minimum(a, b),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A clamp where one operand is a constant scalar, else one call of the binary family."""
    scalar = scalar_constant(node, graph)
    if scalar is not None:
        every = np.arange(-128, 128).astype(np.int8)
        (values,) = reference(node.attrs, (every, graph.const(node.inputs[scalar]).reshape(1)))
        return (table_call(make_table(values), graph.tensors[node.outputs[0]].shape),)
    return (binary_call(node.attrs.kind, node, graph, {}, ()),)


OPERATOR = Operator(
    name="extremum",
    summary="larger or smaller of two values",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, viewable),
    tflite=tuple(_TFLITE),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=tuple(_ONNX),
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    in_place=True,
)
