"""Elements of a tensor along affine axes: depth to space and back, tiles, broadcasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.ops._base import Operator, Shape, no_cost
from mcuc.ops._move import Axis, element_bytes, gather_call, in_bytes, moved_types
from mcuc.ops.rearrange.axes import depth_to_space, is_block, places, space_to_depth
from mcuc.ops.rearrange.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.rearrange.tflite import from_tflite, to_tflite


@dataclass(frozen=True)
class RearrangeAttrs:
    """Output element (i, j, ...) of axes (extent, step) is input element i * step + j * step' + ..., in dense order.

    shape: of the output. A step of 0 repeats.
    """

    axes: tuple[Axis, ...]
    shape: tuple[int, ...]


def infer(attrs: RearrangeAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The attribute's shape. Raises ValueError where the axes reach outside the input."""
    last = sum((n - 1) * step for n, step in attrs.axes)
    if min((step for _, step in attrs.axes), default=0) < 0 or last >= inputs[0].elements:
        raise ValueError(f"axes {attrs.axes} reach outside {inputs[0].shape}")
    return (attrs.shape,)


def reference(attrs: RearrangeAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type."""
    x = arrays[0]
    assert x is not None
    return (x.reshape(-1)[places(attrs.axes).reshape(attrs.shape)],)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """Blocks of an image by its rows, so that a stream can find them; everything else as one gather."""
    attrs: RearrangeAttrs = node.attrs
    shape, size = graph.tensors[node.inputs[0]].shape, element_bytes(node, graph)
    if len(shape) == len(attrs.shape) == 4 and shape[0] == 1 and size == 1:
        call = _to_space(attrs, shape) or _to_depth(attrs, shape)
        if call is not None:
            return (call,)
    return (gather_call(in_bytes(attrs.axes, size), 0),)


def _to_space(attrs: RearrangeAttrs, shape: tuple[int, ...]) -> Call | None:
    """Output row y is a part of input row y // block, which a table of offsets tells; None where it is no such node."""
    _, oh, ow, c = attrs.shape
    _, h, w, deep = shape
    block = oh // h
    if not is_block(attrs.shape, shape) or oh > 32767 or deep > 32767:
        return None
    for column_row in (False, True):
        if depth_to_space(shape, block, column_row) == (attrs.axes, attrs.shape):
            row, column, channel = (block, 1, block * block) if column_row else (block * c, c, 1)
            starts = Table("row_starts", "int16_t", (np.arange(oh) % block * row).astype(np.int16))
            rows = Rows(0, w * deep, h, index=tuple(y // block for y in range(oh)))
            params = {"kind": "to_space", "block": block, "in_c": deep, "column": column, "sc": channel}
            return Call("move", params, (), (rows,), oh, ow, c, ow * c, c, per_row=starts)
    return None


def _to_depth(attrs: RearrangeAttrs, shape: tuple[int, ...]) -> Call | None:
    """Every output pixel is a block of as many rows and columns; None where it is no such node."""
    _, h, w, deep = attrs.shape
    _, ih, iw, c = shape
    block = ih // h
    if not is_block(shape, attrs.shape) or space_to_depth(shape, block) != (attrs.axes, attrs.shape):
        return None
    columns = Columns(c, taps=block, stride=block)
    rows = Rows(0, iw * c, ih, count=block, stride=block, columns=columns)
    params = {"kind": "to_depth", "block": block, "run": block * c}
    return Call("move", params, (), (rows,), h, w, deep, w * deep, deep)


OPERATOR = Operator(
    name="rearrange",
    summary="depth to space, space to depth, tile, broadcast",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(moved_types,),
    tflite=("BROADCAST_TO", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "TILE"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
