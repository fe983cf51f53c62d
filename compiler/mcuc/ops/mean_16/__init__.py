"""Mean or sum over any set of axes of int16 activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.numerics import wrap32
from mcuc.numerics16 import requantize16
from mcuc.ops._axes import walk, walkable
from mcuc.ops._base import Built, Imported, Operator, int16_runtime, no_cost
from mcuc.ops._wide import INT16, wide_activation, wide_tensor
from mcuc.ops.mean import infer
from mcuc.ops.mean.attrs import MeanAttrs
from mcuc.ops.mean.tflite import mean_attrs, to_tflite

MOST_ELEMENTS = 65535  # of 16 bits, whose sum fits 32


def from_tflite(node: Imported) -> Built:
    """The axes are a constant and become attributes. Raises McucError for other types or axes out of range."""
    x = wide_activation(node, 0)
    wide_tensor(node, node.outputs[0])
    return Built("mean_16", (x.name,), replace(mean_attrs(node, x), clamp=INT16))


def reference(attrs: MeanAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int16 of any rank."""
    x = arrays[0]
    assert x is not None
    total = x.astype(np.int64).sum(axis=attrs.axes, keepdims=attrs.keep_dims)
    return (requantize16(wrap32(total).reshape(-1, 1), attrs.requant, *attrs.clamp).reshape(total.shape),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the mean16 family, strides in bytes."""
    attrs: MeanAttrs = node.attrs
    way = walk(graph.tensors[node.inputs[0]].shape, attrs.axes)
    assert way is not None  # walkable
    h, w, c = way.kept
    params: dict[str, Any] = {
        "loops": tuple((count, 2 * stride) for count, stride in way.loops),
        "x_stride": 2 * way.x_stride,
        "c_stride": 2 * way.c_stride,
        "mo": attrs.requant.multiplier[0],
        "so": attrs.requant.shift[0],
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    columns = way.rows.columns
    doubled = None if columns is None else replace(columns, pixel_bytes=2 * columns.pixel_bytes)
    rows = replace(way.rows, row_bytes=2 * way.rows.row_bytes, columns=doubled)
    return (Call("mean16", params, (), (rows,), h, w, 2 * c, 2 * w * c, 2 * c, whole_channels=True),)


def short_sums(node: Node, graph: Graph) -> str | None:
    """At most 65535 elements are summed."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    count = x.elements // max(1, out.elements)
    return f"sums of {count} elements" if count > MOST_ELEMENTS else None


OPERATOR = Operator(
    name="mean_16",
    summary="mean and sum over axes of int16 activations",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int16_runtime, walkable, short_sums),
    tflite=("MEAN", "SUM"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    wide=True,
)
