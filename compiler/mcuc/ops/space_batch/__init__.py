"""Space to batch and batch to space: blocks of an image become images of a batch, around a dilated convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops._move import moved_types, strides
from mcuc.ops.pad import PadAttrs
from mcuc.ops.rearrange import RearrangeAttrs
from mcuc.ops.slice import SliceAttrs
from mcuc.ops.space_batch.tflite import from_tflite, to_tflite


@dataclass(frozen=True)
class SpaceBatchAttrs:
    """block: size of the blocks along the axes behind the batch. to_batch: the direction.

    edges: for each of these axes what is added before and after (to batch; filled with value) or cut off (to space).
    """

    block: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    to_batch: bool
    value: int = 0


def infer(attrs: SpaceBatchAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [n, s..., rest]. Raises ValueError where the blocks do not divide it."""
    shape, k = inputs[0].shape, len(attrs.block)
    batch, space, rest = shape[0], shape[1 : k + 1], shape[k + 1 :]
    count = prod(attrs.block)
    if attrs.to_batch:
        padded = [n + a + b for n, (a, b) in zip(space, attrs.edges, strict=True)]
        if any(n % b for n, b in zip(padded, attrs.block, strict=True)):
            raise ValueError(f"blocks {attrs.block} do not divide {padded}")
        return ((batch * count, *(n // b for n, b in zip(padded, attrs.block, strict=True)), *rest),)
    kept = tuple(n * b - a - z for n, b, (a, z) in zip(space, attrs.block, attrs.edges, strict=True))
    if batch % count or min(kept) < 1:
        raise ValueError(f"blocks {attrs.block} with crops {attrs.edges} of {shape}")
    return ((batch // count, *kept, *rest),)


def reference(attrs: SpaceBatchAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type."""
    x = arrays[0]
    assert x is not None
    k, rest = len(attrs.block), x.shape[len(attrs.block) + 1 :]
    if attrs.to_batch:
        padded = np.pad(x, ((0, 0), *attrs.edges, *((0, 0),) * len(rest)), constant_values=attrs.value)
        small = [n // b for n, b in zip(padded.shape[1 : k + 1], attrs.block, strict=True)]
        split = padded.reshape(x.shape[0], *(v for pair in zip(small, attrs.block, strict=True) for v in pair), *rest)
        order = [*range(2, 2 * k + 1, 2), 0, *range(1, 2 * k, 2), *range(2 * k + 1, split.ndim)]
        return (split.transpose(order).reshape(-1, *small, *rest),)
    small = list(x.shape[1 : k + 1])
    split = x.reshape(*attrs.block, -1, *small, *rest)
    order = [k, *(v for i in range(k) for v in (k + 1 + i, i)), *range(2 * k + 1, split.ndim)]
    whole = split.transpose(order).reshape(-1, *(n * b for n, b in zip(small, attrs.block, strict=True)), *rest)
    kept = [slice(a, n - z) for n, (a, z) in zip(whole.shape[1 : k + 1], attrs.edges, strict=True)]
    return (np.ascontiguousarray(whole[(slice(None), *kept)]),)


def expand(node: Node, graph: Graph) -> tuple[tuple[Node, ...], tuple[Tensor, ...]]:
    """To batch: a padding, then the blocks gathered. To space: the blocks put back, then a slice."""
    attrs: SpaceBatchAttrs = node.attrs
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    whole = x if attrs.to_batch else out
    k = len(attrs.block)
    grown = tuple(n + a + b for n, (a, b) in zip(whole.shape[1 : k + 1], attrs.edges, strict=True))
    between = replace(whole, name=f"{out.name}/whole", shape=(whole.shape[0], *grown, *whole.shape[k + 1 :]), data=None)
    inner = replace(attrs, edges=((0, 0),) * k)
    source, target = (between, out) if attrs.to_batch else (x, between)
    if not any(map(any, attrs.edges)):
        return (Node(node.name, "rearrange", (x.name,), (out.name,), _axes(inner, x.shape, out.shape)),), ()
    blocks = Node(node.name, "rearrange", (source.name,), (target.name,), _axes(inner, source.shape, target.shape))
    rank = len(whole.shape)
    if attrs.to_batch:
        pads = ((0, 0), *attrs.edges, *((0, 0),) * (rank - k - 1))
        edge = Node(f"{node.name}/pad", "pad", (x.name,), (between.name,), PadAttrs(pads, attrs.value))
        return (edge, blocks), (between,)
    begin = (0, *(a for a, _ in attrs.edges), *(0,) * (rank - k - 1))
    cut = SliceAttrs(begin, out.shape, (1,) * rank)
    return (blocks, Node(f"{node.name}/crop", "slice", (between.name,), (out.name,), cut)), (between,)


def _axes(attrs: SpaceBatchAttrs, source: tuple[int, ...], target: tuple[int, ...]) -> RearrangeAttrs:
    """The same without edges, as axes of the output."""
    k, steps = len(attrs.block), strides(source)
    rest = list(zip(source[k + 1 :], steps[k + 1 :], strict=True))
    if attrs.to_batch:
        inside = list(zip(attrs.block, steps[1 : k + 1], strict=True))
        over = [(n, b * s) for n, b, s in zip(target[1 : k + 1], attrs.block, steps[1 : k + 1], strict=True)]
        return RearrangeAttrs((*inside, (source[0], steps[0]), *over, *rest), target)
    images = [target[0] * steps[0] * prod(attrs.block[i + 1 :]) for i in range(k)]
    space = [
        axis for i in range(k) for axis in ((source[i + 1], steps[i + 1]), (attrs.block[i], images[i]))
    ]
    return RearrangeAttrs(((target[0], steps[0]), *space, *rest), target)


OPERATOR = Operator(
    name="space_batch",
    summary="space to batch, batch to space",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    expand=expand,
    limits=(moved_types,),
    tflite=("BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
