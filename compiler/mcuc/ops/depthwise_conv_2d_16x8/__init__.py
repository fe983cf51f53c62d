"""Depthwise 2D convolution of int16 activations and int8 weights (TFLite's 16x8)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call, Table
from mcuc.ops._base import Operator, int16_runtime
from mcuc.ops._conv import ConvAttrs, bias_or_zeros
from mcuc.ops._spatial import taps, window_rows
from mcuc.ops._wide import bias_of, constant_weights, finish16, mac_params, mac_tables, short_sums
from mcuc.ops.depthwise_conv_2d import cost, infer
from mcuc.ops.depthwise_conv_2d.tflite import to_tflite
from mcuc.ops.depthwise_conv_2d_16x8.tflite import from_tflite


def reference(attrs: ConvAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int16 [1, h, w, c], weights int8 [1, kh, kw, oc], bias int64 or int32 [oc] or None."""
    x, w = arrays[0], arrays[1]
    assert x is not None and w is not None
    if x.shape[0] > 1:  # between space_batch nodes
        return (np.concatenate([reference(attrs, (x[i : i + 1], *arrays[1:]))[0] for i in range(x.shape[0])]),)
    oc = w.shape[3]
    oh, ow = attrs.window.output(*x.shape[1:3])
    acc = np.zeros((oh, ow, oc), np.int64)
    for ky, kx, patch in taps(x[0].astype(np.int64), attrs.window, 0):
        acc += np.repeat(patch, oc // x.shape[3], axis=2) * w[0, ky, kx].astype(np.int64)
    acc += bias_or_zeros(arrays[2] if len(arrays) > 2 else None, oc)
    return (finish16(acc, attrs).reshape(1, oh, ow, oc),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the depthwise16 family."""
    attrs: ConvAttrs = node.attrs
    w, bias = graph.const(node.inputs[1]), bias_of(node, graph)
    _, kh, kw, oc = w.shape
    _, h, width, c = graph.tensors[node.inputs[0]].shape
    _, oh, ow, _ = graph.tensors[node.outputs[0]].shape
    params = {
        **mac_params(attrs, w.reshape(-1, oc).T, bias),
        "outs": oc,
        "kh": kh,
        "kw": kw,
        "in_c": c,
        "in_w": width,
        "depth_multiplier": oc // c,
        "stride_w": attrs.window.stride[1],
        "dil_w": attrs.window.dilation[1],
        "pad_left": attrs.window.pad[1],
    }
    tables = (
        Table("weights", "int8_t", w.reshape(-1)),
        *mac_tables(params, attrs.requant, bias),
        Table("padding", "int8_t", np.zeros(2 * c, np.int8)),
    )
    rows = window_rows(attrs.window, h, width, 2 * c)
    return (Call("depthwise16", params, tables, (rows,), oh, ow, 2 * oc, 2 * ow * oc, 2 * oc, whole_channels=True),)


OPERATOR = Operator(
    name="depthwise_conv_2d_16x8",
    summary="depthwise 2D convolution of int16 activations",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int16_runtime, constant_weights, short_sums),
    tflite=("DEPTHWISE_CONV_2D",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    wide=True,
)
