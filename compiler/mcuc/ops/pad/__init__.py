"""Pad: constant value around a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost, zero_point_of
from mcuc.ops._move import element_bytes, moved_types
from mcuc.ops.pad.onnx import KINDS, from_onnx, to_onnx


@dataclass(frozen=True)
class PadAttrs:
    """pads[i]: elements before and after along axis i; value: the integer that fills them."""

    pads: tuple[tuple[int, int], ...]
    value: int


def from_tflite(node: Imported) -> Built:
    """PAD fills with the output's zero point, PADV2 with its third input; paddings are constants."""
    x, out = node.input(0), node.outputs[0]
    table = node.constant(1).astype(np.int64)
    if table.shape != (len(x.shape), 2) or (table < 0).any():
        raise McucError(
            "broken-model",
            f"paddings {table.tolist()} do not fit a tensor of shape {x.shape}",
            where=node.where,
            try_this="pad with constant, non-negative amounts, two per axis",
        )
    if node.optional(2) is not None:
        fill = node.constant(2)
        if fill.size != 1 or node.input(2).dtype is not x.dtype:
            raise McucError(
                "broken-model",
                f"{node.kind} fills {x.dtype.value} with {fill.dtype.name}{fill.shape}",
                where=node.where,
                try_this="quantize the padding value like the padded tensor",
            )
        value = int(fill.reshape(-1)[0])
    else:
        value = zero_point_of(out, node.where) if x.dtype is DType.INT8 else 0
    return Built("pad", (x.name,), PadAttrs(tuple((int(a), int(b)) for a, b in table), value))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As PAD where the fill is the output's zero point, else as PADV2."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    pads = np.array(node.attrs.pads, np.int32)
    constant = Tensor(f"{out.name}/paddings", pads.shape, DType.INT32, None, pads)
    zero_point = out.quant.zero_point[0] if out.quant is not None else 0
    if node.attrs.value == zero_point:
        return Exported("PAD", "PadOptions", inputs=(x.name, constant.name), constants=(constant,))
    data = np.array([node.attrs.value], x.dtype.value)
    fill = Tensor(f"{out.name}/fill", (1,), x.dtype, out.quant, data)
    return Exported("PADV2", "PadV2Options", inputs=(x.name, constant.name, fill.name), constants=(constant, fill))


def infer(attrs: PadAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """Each axis grows by its two pads."""
    return (tuple(n + a + b for n, (a, b) in zip(inputs[0].shape, attrs.pads, strict=True)),)


def reference(attrs: PadAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x of any type, padded."""
    x = arrays[0]
    assert x is not None
    return (np.pad(x, attrs.pads, constant_values=attrs.value),)


def _three(shape: tuple[int, ...], attrs: PadAttrs, size: int) -> list[tuple[int, int, int]] | None:
    """(extent, before, after) of rows, columns, channels, these in bytes; None when more than three axes remain."""
    axes = [(n, a, b) for n, (a, b) in zip(shape, attrs.pads, strict=True)] or [(1, 0, 0)]
    axes[-1] = (axes[-1][0] * size, axes[-1][1] * size, axes[-1][2] * size)
    while len(axes) > 3 and axes[0] == (1, 0, 0):
        axes = axes[1:]
    if len(axes) > 3:
        merged: list[tuple[int, int, int]] = []
        for n, a, b in axes:
            if merged and (a, b) == (0, 0):
                m, before, after = merged[-1]
                merged[-1] = (m * n, before * n, after * n)
            elif (n, a, b) != (1, 0, 0):
                merged.append((n, a, b))
        axes = merged
    return [(1, 0, 0)] * (3 - len(axes)) + axes if len(axes) <= 3 else None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the move family; rows above and below are padding rows."""
    size = element_bytes(node, graph)
    three = _three(graph.tensors[node.inputs[0]].shape, node.attrs, size)
    assert three is not None  # at_most_three_axes
    (h, top, bottom), (w, left, right), (c, front, back) = three
    rows = Rows(0, w * c, h, pad=top, columns=Columns(c, pad=left))
    oh, ow, oc = top + h + bottom, left + w + right, front + c + back
    fill = _fill(node.attrs.value, size)
    plain = len(set(fill)) == 1
    filled = f"(int8_t){fill[0]}" if plain else f"fill[c % {size}]"
    params = {"kind": "pad", "in_w": w, "in_c": c, "left": left, "front": front, "plain": plain, "filled": filled}
    tables = () if plain else (Table("fill", "int8_t", np.array(fill, np.int8)),)
    return (Call("move", params, tables, (rows,), oh, ow, oc, ow * oc, oc),)


def at_most_three_axes(node: Node, graph: Graph) -> str | None:
    """At most three axes remain once unit axes are dropped and unpadded axes merged into the one before."""
    shape = graph.tensors[node.inputs[0]].shape
    if _three(shape, node.attrs, 1) is None:
        return f"paddings {node.attrs.pads} of {shape} need four or more axes"
    return None


def _fill(value: int, size: int) -> list[int]:
    """The bytes of the value, low one first, as int8."""
    raw = value.to_bytes(size, "little", signed=value < 0 or size > 1)
    return [b - 256 if b > 127 else b for b in raw]


OPERATOR = Operator(
    name="pad",
    summary="pad with a constant",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(moved_types, at_most_three_axes),
    tflite=("PAD", "PADV2"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
