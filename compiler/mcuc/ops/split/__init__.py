"""Split and unpack: parts of a tensor along an axis. Each part is a slice by the time anything is scheduled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops._move import moved_types
from mcuc.ops.slice import SliceAttrs
from mcuc.ops.split.tflite import from_tflite, to_tflite


@dataclass(frozen=True)
class SplitAttrs:
    """axis: counted from the front. sizes: of the parts. squeeze: the parts, of size 1, lose the axis."""

    axis: int
    sizes: tuple[int, ...]
    squeeze: bool = False


def infer(attrs: SplitAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """One shape a part. Raises ValueError when the sizes do not add up to the axis."""
    shape = inputs[0].shape
    if sum(attrs.sizes) != shape[attrs.axis]:
        raise ValueError(f"cannot split axis {attrs.axis} of {shape} into {attrs.sizes}")
    ends = [() if attrs.squeeze else (n,) for n in attrs.sizes]
    return tuple((*shape[: attrs.axis], *own, *shape[attrs.axis + 1 :]) for own in ends)


def reference(attrs: SplitAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type, cut."""
    x = arrays[0]
    assert x is not None
    parts = np.split(x, np.cumsum(attrs.sizes)[:-1], attrs.axis)
    return tuple(p.squeeze(attrs.axis) if attrs.squeeze else p for p in parts)


def expand(node: Node, graph: Graph) -> tuple[tuple[Node, ...], tuple[Tensor, ...]]:
    """One slice a part."""
    attrs: SplitAttrs = node.attrs
    shape, at, nodes = graph.tensors[node.inputs[0]].shape, 0, []
    squeeze = (attrs.axis,) if attrs.squeeze else ()
    for i, (size, name) in enumerate(zip(attrs.sizes, node.outputs, strict=True)):
        begin, kept = [0] * len(shape), list(shape)
        begin[attrs.axis], kept[attrs.axis] = at, size
        cut = SliceAttrs(tuple(begin), tuple(kept), (1,) * len(shape), squeeze)
        nodes.append(Node(f"{node.name}/{i}", "slice", node.inputs[:1], (name,), cut))
        at += size
    return tuple(nodes), ()


OPERATOR = Operator(
    name="split",
    summary="split, unpack",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    expand=expand,
    limits=(moved_types,),
    tflite=("SPLIT", "SPLIT_V", "UNPACK"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
