"""Bicubic resize: every output from four pixels of four rows, by weights known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Rows, Table
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._resize import Real, weight_table
from mcuc.ops.resize_bilinear import one_image
from mcuc.ops.resize_cubic.onnx import KINDS, from_onnx, to_onnx

Place = tuple[int, tuple[float, float, float, float]]  # the first of four neighbours, and their weights


@dataclass(frozen=True)
class CubicAttrs:
    """rows, columns: where each output position comes from; neighbours outside are the nearest inside. real: the
    float32 numbers on both sides."""

    rows: tuple[Place, ...]
    columns: tuple[Place, ...]
    real: Real


def infer(attrs: CubicAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [1, h, w, c] -> [1, rows, columns, c]. Raises ValueError where no neighbour lies inside."""
    n, h, w, c = inputs[0].shape
    for places, extent in ((attrs.rows, h), (attrs.columns, w)):
        if any(not -4 < first < extent for first, _ in places):
            raise ValueError(f"places outside {inputs[0].shape}")
    return ((n, len(attrs.rows), len(attrs.columns), c),)


def reference(attrs: CubicAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x int8 [n, h, w, c], in the runtime's order: along the row, then down; one product and sum after the other."""
    x = arrays[0]
    assert x is not None
    real = attrs.real.reals(x)
    down, across = (np.array([w for _, w in p], np.float32) for p in (attrs.rows, attrs.columns))
    total = np.zeros((x.shape[0], len(attrs.rows), len(attrs.columns), x.shape[3]), np.float32)
    for k in range(4):
        rows = real[:, neighbours(attrs.rows, x.shape[1])[:, k]]
        line = np.zeros_like(total)
        for j in range(4):
            line = line + across[:, j, None] * rows[:, :, neighbours(attrs.columns, x.shape[2])[:, j]]
        total = total + line * down[:, k, None, None]
    return (attrs.real.integers(total),)


def neighbours(places: Sequence[Place], extent: int) -> Array:
    """[positions, 4]: the four of each, brought inside."""
    firsts = np.array([first for first, _ in places])
    return np.asarray(np.clip(firsts[:, None] + np.arange(4), 0, extent - 1))


def cost(node: Node, graph: Graph) -> Cost:
    """Twenty products an output."""
    return Cost(20 * graph.tensors[node.outputs[0]].elements)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the resize family; rows by the emitter's index, the weights of a row behind them."""
    attrs: CubicAttrs = node.attrs
    _, h, w, c = graph.tensors[node.inputs[0]].shape
    oh, ow = len(attrs.rows), len(attrs.columns)
    rows = Rows(0, w * c, h, count=4, index=tuple(first for first, _ in attrs.rows))
    pixels = Table("columns", "int16_t", neighbours(attrs.columns, w).reshape(-1).astype(np.int16))
    tables = (pixels, weight_table("weights", [v for _, v in attrs.columns], True))
    per_row = weight_table("row_weights", [v for _, v in attrs.rows], True)
    params = {"kind": "cubic", "in_c": c, **attrs.real.params()}
    return (Call("resize", params, tables, (rows,), oh, ow, c, ow * c, c, per_row=per_row),)


OPERATOR = Operator(
    name="resize_cubic",
    summary="bicubic resize (ONNX)",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, one_image),
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
