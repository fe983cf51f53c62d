"""Assign: a value becomes a state's, for the next run.

The importers make it of whatever a format has for variables; its output is a state's `next` (see ir.State), so its
place in the order is behind all readers of the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops._move import gather_call


@dataclass(frozen=True)
class AssignAttrs:
    """Nothing: the bytes are copied."""


def infer(attrs: AssignAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: AssignAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type, as it is."""
    x = arrays[0]
    assert x is not None
    return (x,)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One copy of all bytes."""
    return (gather_call(((1, 0), (1, 0), (graph.tensors[node.inputs[0]].bytes, 1)), 0),)


def whole_number_state(node: Node, graph: Graph) -> str | None:
    """The state is int8 or int16, and its value is computed at run time."""
    tensor = graph.tensors[node.inputs[0]]
    if tensor.dtype.value not in ("int8", "int16"):
        return f"tensor {tensor.name!r} is {tensor.dtype.value}"
    return f"tensor {tensor.name!r} is a constant" if tensor.data is not None else None


OPERATOR = Operator(
    name="assign",
    summary="variables: what one run leaves for the next",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(whole_number_state,),
    tflite=("ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"),
)
