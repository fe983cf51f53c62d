"""Scatter by constant index tuples into zeros: every element comes from one update, or is 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost
from mcuc.ops._move import moved_types
from mcuc.ops._tflite import beyond_micro
from mcuc.ops.concat import ConcatAttrs
from mcuc.ops.gather import GatherAttrs
from mcuc.ops.reshape import ReshapeAttrs


@dataclass(frozen=True)
class ScatterNdAttrs:
    """shape: of the output. indices: a tuple of the leading axes' positions for each update, none twice."""

    shape: tuple[int, ...]
    indices: tuple[tuple[int, ...], ...]

    @property
    def run(self) -> int:
        """Elements of an update."""
        return prod(self.shape[len(self.indices[0]) :])


def from_tflite(node: Imported) -> Built:
    """SCATTER_ND by constants. LiteRT adds up updates of one place, which is refused."""
    indices, updates = node.constant(0), node.input(1)
    shape = tuple(int(n) for n in node.constant(2).reshape(-1))
    depth = indices.shape[-1] if indices.ndim else 0
    tuples = tuple(tuple(int(i) for i in t) for t in indices.reshape(-1, max(1, depth)))
    fits = 1 <= depth <= len(shape) and min(shape, default=0) > 0 and prod(shape) <= 1 << 28 and tuples
    if not fits or updates.shape != (*indices.shape[:-1], *shape[depth:]):
        raise _refuse(node, f"SCATTER_ND of {updates.shape} by {indices.shape} into {shape}")
    if any(not 0 <= i < n for t in tuples for i, n in zip(t, shape, strict=False)):
        raise _refuse(node, f"SCATTER_ND writes outside {shape}")
    if node.unsigned:
        raise _refuse(node, "SCATTER_ND of uint8 tensors")
    if len(set(tuples)) < len(tuples):
        raise _refuse(node, "SCATTER_ND writes to one place twice")
    return Built("scatter_nd", (updates.name,), ScatterNdAttrs(shape, tuples), notes=beyond_micro(node, "SCATTER_ND"))


def _refuse(node: Imported, found: str) -> McucError:
    return McucError(
        "unsupported-scatter",
        found,
        where=node.where,
        try_this="scatter by constant indices inside the output, each once",
    )


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As SCATTER_ND."""
    attrs: ScatterNdAttrs = node.attrs
    updates = graph.tensors[node.inputs[0]]
    lead = updates.shape[: len(updates.shape) - len(attrs.shape) + len(attrs.indices[0])]

    def constant(what: str, values: Array) -> Tensor:
        return Tensor(f"{node.outputs[0]}/{what}", values.shape, DType.INT32, None, values)

    indices = constant("indices", np.array(attrs.indices, np.int32).reshape(*lead, -1))
    shape = constant("shape", np.array(attrs.shape, np.int32))
    return Exported("SCATTER_ND", "ScatterNdOptions", {}, (indices.name, updates.name, shape.name), (indices, shape))


def infer(attrs: ScatterNdAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The attribute's shape."""
    return (attrs.shape,)


def reference(attrs: ScatterNdAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """updates of any type; 0 where there is none."""
    updates = arrays[0]
    assert updates is not None
    out = np.zeros(attrs.shape, updates.dtype)
    depth = len(attrs.indices[0])
    out[tuple(np.array(attrs.indices).T)] = updates.reshape(len(attrs.indices), *attrs.shape[depth:])
    return (out,)


def expand(node: Node, graph: Graph) -> tuple[tuple[Node, ...], tuple[Tensor, ...]]:
    """The updates and one run of zeros behind them, gathered by which of them every place holds."""
    attrs: ScatterNdAttrs = node.attrs
    updates, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    count, run = len(attrs.indices), attrs.run
    led = attrs.shape[: len(attrs.indices[0])]
    places = np.full(prod(led), count, np.int32)
    places[np.ravel_multi_index(np.array(attrs.indices).T, led)] = np.arange(count)

    def made(what: str, shape: tuple[int, ...], data: Array | None = None) -> Tensor:
        return replace(updates, name=f"{out.name}/{what}", shape=shape, data=data)

    flat, both = made("updates", (count, run)), made("both", (count + 1, run))
    zeros = made("zeros", (1, run), np.zeros((1, run), updates.dtype.value))
    found = made("found", (len(places), run))
    index = Tensor(f"{out.name}/places", places.shape, DType.INT32, None, places)
    steps = (
        ("updates", "reshape", (updates.name,), flat, ReshapeAttrs(flat.shape)),
        ("both", "concat", (flat.name, zeros.name), both, ConcatAttrs(0, (b"", b""))),
        ("found", "gather", (both.name, index.name), found, GatherAttrs(0)),
        ("shape", "reshape", (found.name,), out, ReshapeAttrs(attrs.shape)),
    )
    nodes = tuple(Node(f"{node.name}/{what}", op, reads, (t.name,), a) for what, op, reads, t, a in steps)
    return nodes, (flat, zeros, both, found, index)


OPERATOR = Operator(
    name="scatter_nd",
    summary="scatter into zeros by constant index tuples",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    expand=expand,
    limits=(moved_types,),
    tflite=("SCATTER_ND",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
