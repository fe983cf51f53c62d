"""Bilinear resize: every output from two neighbouring pixels of two neighbouring rows, by weights known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Rows, Table
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._resize import weight_table
from mcuc.ops.resize_bilinear.attrs import BilinearAttrs, Place
from mcuc.ops.resize_bilinear.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.resize_bilinear.tflite import as_tflite, from_tflite, to_tflite

BITS = 10  # of an integer weight, TFLite's


def infer(attrs: BilinearAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [1, h, w, c] -> [1, rows, columns, c]. Raises ValueError for places outside the input."""
    n, h, w, c = inputs[0].shape
    for places, extent in ((attrs.rows, h), (attrs.columns, w)):
        if any(not 0 <= p.first <= p.second <= min(p.first + 1, extent - 1) for p in places):
            raise ValueError(f"places outside {inputs[0].shape}")
    return ((n, len(attrs.rows), len(attrs.columns), c),)


def reference(attrs: BilinearAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x int8 [n, h, w, c]. Integer weights: in int64, rounded half away from zero. Real ones: in float32, one product
    and sum after the other, as ONNX Runtime has them."""
    x = arrays[0]
    assert x is not None
    real = attrs.real
    kind: Any = np.int64 if real is None else np.float32
    above, below = (np.array([p.weights[i] for p in attrs.rows], kind)[:, None, None] for i in (0, 1))
    before, after = (np.array([p.weights[i] for p in attrs.columns], kind)[:, None] for i in (0, 1))
    wide: Array = x.astype(kind) if real is None else real.reals(x)
    upper, lower = (wide[:, [end(p) for p in attrs.rows]] for end in (_first, _second))
    left, right = ([end(p) for p in attrs.columns] for end in (_first, _second))
    total: Array = before * above * upper[:, :, left]
    total = total + after * above * upper[:, :, right]
    total = total + before * below * lower[:, :, left]
    total = total + after * below * lower[:, :, right]
    if real is None:
        half = np.where(total > 0, 1 << (2 * BITS - 1), -(1 << (2 * BITS - 1)))
        return ((np.sign(total) * (np.abs(total + half) >> (2 * BITS))).astype(np.int8),)
    return (real.integers(total),)


def _first(place: Place) -> int:
    return place.first


def _second(place: Place) -> int:
    return place.second


def cost(node: Node, graph: Graph) -> Cost:
    """Four products an output."""
    return Cost(4 * graph.tensors[node.outputs[0]].elements)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the resize family; rows by the emitter's index, the weights of a row behind them."""
    attrs: BilinearAttrs = node.attrs
    _, h, w, c = graph.tensors[node.inputs[0]].shape
    oh, ow = len(attrs.rows), len(attrs.columns)
    rows = Rows(0, w * c, h, count=2, index=tuple(p.first for p in attrs.rows))
    pixels = np.array([(p.first, p.second) for p in attrs.columns], np.int16).reshape(-1)
    real = attrs.real
    kind = "integer" if real is None else "float32"
    params = {"kind": kind, "in_c": c, "bits": BITS, **({} if real is None else real.params())}
    weights, above = ([p.weights for p in places] for places in (attrs.columns, attrs.rows))
    tables = (Table("columns", "int16_t", pixels), weight_table("weights", weights, real is not None))
    per_row = weight_table("row_weights", above, real is not None)
    return (Call("resize", params, tables, (rows,), oh, ow, c, ow * c, c, per_row=per_row),)


def one_image(node: Node, graph: Graph) -> str | None:
    """The batch is 1."""
    batch = graph.tensors[node.inputs[0]].shape[0]
    return f"the batch is {batch}" if batch != 1 else None


OPERATOR = Operator(
    name="resize_bilinear",
    summary="bilinear resize",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, one_image),
    tflite=("RESIZE_BILINEAR",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    as_tflite=as_tflite,
)
