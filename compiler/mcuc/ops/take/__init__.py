"""Elements at listed positions along each axis: mirrored, edge and wrapped padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops._move import element_bytes, most_rows, moved_types, take_call
from mcuc.ops.take.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.take.tflite import from_tflite, to_tflite


@dataclass(frozen=True)
class TakeAttrs:
    """indices: for each axis the input positions in output order, or None for all of it."""

    indices: tuple[tuple[int, ...] | None, ...]


def infer(attrs: TakeAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """As many as are listed. Raises ValueError for positions outside an axis."""
    shape = inputs[0].shape
    for n, chosen in zip(shape, attrs.indices, strict=True):
        if chosen is not None and not (chosen and min(chosen) >= 0 and max(chosen) < n):
            raise ValueError(f"positions outside {shape}")
    return (tuple(n if c is None else len(c) for n, c in zip(shape, attrs.indices, strict=True)),)


def reference(attrs: TakeAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type."""
    x = arrays[0]
    assert x is not None
    for axis, chosen in enumerate(attrs.indices):
        if chosen is not None:
            x = np.take(x, chosen, axis)
    return (x,)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the move family."""
    return (take_call(graph.tensors[node.inputs[0]].shape, node.attrs.indices, element_bytes(node, graph)),)


def countable_rows(node: Node, graph: Graph) -> str | None:
    """Where rows are found by number, the input has at most 32,767 of them."""
    rows = most_rows(graph.tensors[node.inputs[0]].shape, node.attrs.indices)
    return f"tensor {node.inputs[0]!r} has {rows} rows" if rows > 32767 else None


OPERATOR = Operator(
    name="take",
    summary="mirrored, edge and wrapped padding",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(moved_types, countable_rows),
    tflite=("MIRROR_PAD",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
