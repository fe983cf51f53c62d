"""Transposed 2D convolution of int16 activations and int8 weights (TFLite's 16x8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, int16_runtime
from mcuc.ops._conv import bias_or_zeros
from mcuc.ops._wide import bias_of, constant_weights, finish16, short_sums
from mcuc.ops.conv_2d_16x8 import dot16_call
from mcuc.ops.transpose_conv import accumulated, cost, infer, parts
from mcuc.ops.transpose_conv.attrs import TransposeConvAttrs
from mcuc.ops.transpose_conv.tflite import to_tflite
from mcuc.ops.transpose_conv_16x8.tflite import from_tflite


def reference(attrs: TransposeConvAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int16 [1, h, w, c], weights int8 [oc, kh, kw, c], bias int64 [oc] or None."""
    x, w = arrays[0], arrays[1]
    assert x is not None and w is not None
    acc = accumulated(attrs, x, w) + bias_or_zeros(arrays[2] if len(arrays) > 2 else None, w.shape[0])
    return (finish16(acc, attrs).reshape(1, *attrs.size, -1),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A call of the dot16 family for every combination of phases."""
    attrs: TransposeConvAttrs = node.attrs
    w, bias = graph.const(node.inputs[1]), bias_of(node, graph)
    _, h, width, c = graph.tensors[node.inputs[0]].shape
    merged = attrs.window.stride == (1, 1)
    calls = []
    for part in parts(attrs, (h, width, c), w):
        plain = replace(attrs, window=part.window)
        out = part.rows.count, part.columns.count
        call = dot16_call(plain, (h, width, c), part.weights, bias, out, merged)
        calls.append(part.placed(call, attrs, 2 * w.shape[0]))
    return tuple(calls)


OPERATOR = Operator(
    name="transpose_conv_16x8",
    summary="transposed 2D convolution of int16 activations",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int16_runtime, constant_weights, short_sums),
    tflite=("TRANSPOSE_CONV",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    wide=True,
)
