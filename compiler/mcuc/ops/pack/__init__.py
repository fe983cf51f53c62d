"""Pack: stacks tensors along a new axis. Exporters write it in shape computations, which are folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array, Tensor
from mcuc.ops._base import Built, Imported, Operator, Shape, no_cost
from mcuc.ops._move import compile_time_only


@dataclass(frozen=True)
class PackAttrs:
    """axis: of the output, counted from the front."""

    axis: int


def from_tflite(node: Imported) -> Built:
    """PACK of tensors of one shape."""
    parts = [node.input(i) for i in range(len(node.inputs))]
    axis = int(node.options.axis) + (len(parts[0].shape) + 1 if node.options.axis < 0 else 0)
    return Built("pack", tuple(p.name for p in parts), PackAttrs(axis))


def infer(attrs: PackAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The parts' shape with their number inserted. Raises ValueError when they differ or the axis does not exist."""
    shape = inputs[0].shape
    if any(t.shape != shape for t in inputs) or not 0 <= attrs.axis <= len(shape):
        raise ValueError(f"cannot pack {[t.shape for t in inputs]} along axis {attrs.axis}")
    return ((*shape[: attrs.axis], len(inputs), *shape[attrs.axis :]),)


def reference(attrs: PackAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Arrays of one shape and type."""
    return (np.stack([a for a in arrays if a is not None], attrs.axis),)


OPERATOR = Operator(
    name="pack",
    summary="stack along a new axis, at compile time",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    limits=(compile_time_only,),
    tflite=("PACK",),
    from_tflite=from_tflite,
)
