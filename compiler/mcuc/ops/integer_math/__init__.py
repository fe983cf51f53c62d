"""Integer arithmetic on shapes: folded into constants. (Arithmetic on activations is add, mul.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Tensor
from mcuc.ops._base import Built, Imported, Operator, Shape, no_cost
from mcuc.ops._move import compile_time_only


def _truncating_divide(a: Array, b: Array) -> Array:
    """C's division."""
    quotient = np.abs(a) // np.abs(b)
    result: Array = np.where((a < 0) != (b < 0), -quotient, quotient)
    return result


_FUNCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": _truncating_divide,
    "FLOOR_DIV": np.floor_divide,
    "FLOOR_MOD": np.mod,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
}
KINDS = frozenset(_FUNCTIONS)  # TFLite names; the importer comes here when both inputs are int32 or int64


@dataclass(frozen=True)
class IntegerMathAttrs:
    """kind: one of KINDS."""

    kind: str


def from_tflite(node: Imported) -> Built:
    """A binary operator on int32 or int64 tensors, no fused activation."""
    if getattr(node.options, "fusedActivationFunction", 0):
        raise McucError(
            "unsupported-activation",
            f"{node.kind} on integers with a fused activation",
            where=node.where,
            try_this="export the model without an activation on shape arithmetic",
        )
    return Built("integer_math", (node.input(0).name, node.input(1).name), IntegerMathAttrs(node.kind))


def infer(attrs: IntegerMathAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The broadcast shape."""
    return (np.broadcast_shapes(inputs[0].shape, inputs[1].shape),)


def reference(attrs: IntegerMathAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """int32 or int64 with wrap-around. Raises McucError on a division by zero."""
    a, b = arrays[0], arrays[1]
    assert a is not None and b is not None
    if attrs.kind in ("DIV", "FLOOR_DIV", "FLOOR_MOD") and not b.all():
        raise McucError(
            "broken-model",
            f"{attrs.kind} by zero in a shape computation",
            try_this="check that the model file is complete", where=f"operator {attrs.kind}")
    return (np.asarray(_FUNCTIONS[attrs.kind](a, b)).astype(a.dtype),)


OPERATOR = Operator(
    name="integer_math",
    summary="arithmetic on shapes, at compile time",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    limits=(compile_time_only,),
    tflite=("FLOOR_DIV", "FLOOR_MOD"),
    from_tflite=from_tflite,
)
