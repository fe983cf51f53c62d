"""Slice and strided slice: a box of the input, every step-th element along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops._move import Axis, element_bytes, gather_call, image, in_bytes, moved_types, strides
from mcuc.ops.slice.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.slice.tflite import from_tflite, to_tflite


@dataclass(frozen=True)
class SliceAttrs:
    """Along axis i: size[i] elements from begin[i], step[i] apart (negative: backwards). squeeze: axes dropped. added:
    axes of 1 of the output."""

    begin: tuple[int, ...]
    size: tuple[int, ...]
    step: tuple[int, ...]
    squeeze: tuple[int, ...] = ()
    added: tuple[int, ...] = ()


def infer(attrs: SliceAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """size without the squeezed axes, with the added ones."""
    shape = [n for i, n in enumerate(attrs.size) if i not in attrs.squeeze]
    for axis in sorted(attrs.added):
        shape.insert(axis, 1)
    return (tuple(shape),)


def reference(attrs: SliceAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type at the listed indices."""
    x = arrays[0]
    assert x is not None
    picked = [b + s * np.arange(n) for b, n, s in zip(attrs.begin, attrs.size, attrs.step, strict=True)]
    return (x[np.ix_(*picked)].reshape(infer(attrs, ())[0]),)


def _axes(attrs: SliceAttrs, shape: tuple[int, ...]) -> tuple[list[Axis], int]:
    steps = strides(shape)
    offset = sum(b * s for b, s in zip(attrs.begin, steps, strict=True))
    return [(n, s * d) for n, s, d in zip(attrs.size, steps, attrs.step, strict=True)], offset


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One gather of the move family; over an image the rows keep their numbers, so that rings of rows can feed it."""
    attrs: SliceAttrs = node.attrs
    shape = graph.tensors[node.inputs[0]].shape
    whole, size = image(shape), element_bytes(node, graph)
    if whole is None or len(shape) < 3 or size > 1:
        axes, offset = _axes(attrs, shape)
        return (gather_call(in_bytes(axes, size), offset * size),)
    h, w, c = whole
    (by, bx, bc), (ny, nx, nc), (sy, sx, sc) = attrs.begin[-3:], attrs.size[-3:], attrs.step[-3:]
    index = () if sy > 0 else tuple(by + sy * y for y in range(ny))
    columns = Columns(c, stride=sx, pad=-bx) if sx > 0 else None
    pad = -by if sy > 0 else 0
    rows = Rows(0, w * c, h, stride=max(sy, 1), pad=pad, offset=bx * c + bc, index=index, columns=columns)
    return (Call("move", {"kind": "gather", "sx": sx * c, "sc": sc}, (), (rows,), ny, nx, nc, nx * nc, nc),)


OPERATOR = Operator(
    name="slice",
    summary="slice, strided slice, reverse",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(moved_types,),
    tflite=("REVERSE_V2", "SLICE", "STRIDED_SLICE"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
