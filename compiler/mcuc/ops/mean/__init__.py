"""Mean or sum over any set of axes, requantized."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Rows
from mcuc.numerics import requantize, wrap32
from mcuc.ops._axes import groups, reduced, walk, walkable
from mcuc.ops._base import Operator, Shape, int8_runtime, no_cost
from mcuc.ops._conv import requant_tables
from mcuc.ops._reduce import reduction_calls
from mcuc.ops.mean.attrs import MeanAttrs
from mcuc.ops.mean.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.mean.tflite import from_tflite, to_tflite


def infer(attrs: MeanAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape without the axes, or with 1 in their places."""
    return (reduced(inputs[0].shape, attrs.axes, attrs.keep_dims),)


def reference(attrs: MeanAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 of any rank."""
    x = arrays[0]
    assert x is not None
    total = (x.astype(np.int64) - attrs.input_zero_point).sum(axis=attrs.axes, keepdims=attrs.keep_dims)
    flat = requantize(wrap32(total).reshape(-1, 1), attrs.requant, attrs.output_zero_point, *attrs.clamp)
    return (flat.reshape(total.shape),)


def _output(attrs: MeanAttrs) -> dict[str, Any]:
    """The constants of the output stage."""
    return {
        "rule": attrs.requant.rule,
        "per_channel": False,
        "out_zp": attrs.output_zero_point,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }


def _many_strides(attrs: MeanAttrs, shape: Shape) -> tuple[Call, ...]:
    way = walk(shape, attrs.axes)
    assert way is not None
    start = -attrs.input_zero_point * way.count
    params: dict[str, Any] = {"kind": "sum", "valued": False, "stepped": False, "start": start, "loops": way.loops,
                              "x_stride": way.x_stride, "c_stride": way.c_stride, **_output(attrs)}
    h, w, c = way.kept
    return (Call("mean", params, requant_tables(attrs.requant, 1), (way.rows,), h, w, c, w * c, c),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the mean family: each output element sums two nested strides of one input row."""
    attrs: MeanAttrs = node.attrs
    shape, r = graph.tensors[node.inputs[0]].shape, attrs.requant
    dims = groups(shape, attrs.axes)
    if len(dims) > 3:
        return _many_strides(attrs, shape)
    dims = [(1, False)] * (3 - len(dims)) + dims
    strides = [prod(size for size, _ in dims[i + 1 :]) for i in range(3)]
    kept = [1 if reduced else size for size, reduced in dims]
    loops = [(size, stride) for (size, reduced), stride in zip(dims, strides, strict=True) if reduced]
    loops = [(1, 0)] * (2 - len(loops)) + loops
    count = loops[0][0] * loops[1][0]
    rows_kept = not dims[0][1]
    rows = Rows(0, strides[0] if rows_kept else strides[0] * dims[0][0], kept[0])
    params: dict[str, Any] = {
        "n0": loops[0][0],
        "stride0": loops[0][1],
        "n1": loops[1][0],
        "stride1": loops[1][1],
        "x_stride": 0 if dims[1][1] else strides[1],
        "c_stride": 0 if dims[2][1] else 1,
        "start": -attrs.input_zero_point * count,
        **_output(attrs),
    }
    h, w, c = kept
    return (Call("mean", params, requant_tables(r, 1), (rows,), h, w, c, w * c, c),)


def reduction(node: Node, graph: Graph) -> tuple[Call, Call] | None:
    """The mean over height and width of an image."""
    attrs: MeanAttrs = node.attrs
    shape = graph.tensors[node.inputs[0]].shape
    if len(shape) != 4 or tuple(sorted(attrs.axes)) != (1, 2):
        return None
    params = {"start": -attrs.input_zero_point * shape[1] * shape[2], **_output(attrs)}
    return reduction_calls(node, graph, "mean", params, requant_tables(attrs.requant, 1))


OPERATOR = Operator(
    name="mean",
    summary="mean and sum over axes, global average pooling",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    reduction=reduction,
    limits=(int8_runtime, walkable),
    tflite=("MEAN", "SUM"),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
