"""Pack: stacks tensors along a new axis. At run time it is a concatenation of reshaped parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost
from mcuc.ops._move import moved_types
from mcuc.ops._tflite import normal_axis
from mcuc.ops.concat import ConcatAttrs
from mcuc.ops.reshape import ReshapeAttrs


@dataclass(frozen=True)
class PackAttrs:
    """axis: of the output, counted from the front."""

    axis: int


def from_tflite(node: Imported) -> Built:
    """PACK of tensors of one shape; their bytes are copied, whatever their scales say."""
    parts = [node.input(i) for i in range(len(node.inputs))]
    axis = normal_axis(node.options.axis, len(node.input(0).shape) + 1, node)
    return Built("pack", tuple(p.name for p in parts), PackAttrs(axis))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As PACK."""
    return Exported("PACK", "PackOptions", {"axis": node.attrs.axis, "valuesCount": len(node.inputs)})


def infer(attrs: PackAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The parts' shape with their number inserted. Raises ValueError when they differ or the axis does not exist."""
    shape = inputs[0].shape
    if any(t.shape != shape for t in inputs) or not 0 <= attrs.axis <= len(shape):
        raise ValueError(f"cannot pack {[t.shape for t in inputs]} along axis {attrs.axis}")
    return ((*shape[: attrs.axis], len(inputs), *shape[attrs.axis :]),)


def reference(attrs: PackAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Arrays of one shape and type."""
    return (np.stack([a for a in arrays if a is not None], attrs.axis),)


def expand(node: Node, graph: Graph) -> tuple[tuple[Node, ...], tuple[Tensor, ...]]:
    """A reshape a part, constants reshaped here, and a concatenation."""
    axis, nodes, tensors, names = node.attrs.axis, [], [], []
    for i, name in enumerate(node.inputs):
        part = graph.tensors[name]
        shape = (*part.shape[:axis], 1, *part.shape[axis:])
        data = None if part.data is None else part.data.reshape(shape)
        tensors.append(replace(part, name=f"{node.outputs[0]}/part{i}", shape=shape, data=data))
        names.append(tensors[-1].name)
        if data is None:
            nodes.append(Node(f"{node.name}/{i}", "reshape", (name,), (names[-1],), ReshapeAttrs(shape)))
    joined = Node(node.name, "concat", tuple(names), node.outputs, ConcatAttrs(axis, (b"",) * len(names)))
    return (*nodes, joined), tuple(tensors)


OPERATOR = Operator(
    name="pack",
    summary="stack along a new axis",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    expand=expand,
    limits=(moved_types,),
    tflite=("PACK",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
