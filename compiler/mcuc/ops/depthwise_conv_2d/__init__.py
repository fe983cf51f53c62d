"""Depthwise 2D convolution with any channel multiplier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Table
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._conv import ConvAttrs, bias_or_zeros, dot_call, finish, requant_params, requant_tables, require_folded
from mcuc.ops._spatial import taps, window_rows
from mcuc.ops.conv_2d import constant_weights
from mcuc.ops.depthwise_conv_2d.onnx import to_onnx
from mcuc.ops.depthwise_conv_2d.tflite import from_tflite, to_tflite


def infer(attrs: ConvAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [n, h, w, c], weights [1, kh, kw, oc] -> [n, oh, ow, oc]; output channel o reads channel o // (oc / c)."""
    n, h, w, _ = inputs[0].shape
    oh, ow = attrs.window.output(h, w)
    return ((n, oh, ow, inputs[1].shape[3]),)


def reference(attrs: ConvAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 [1, h, w, c], weights int8 [1, kh, kw, oc], bias int32 [oc] or None."""
    x, w = arrays[0], arrays[1]
    assert x is not None and w is not None
    if x.shape[0] > 1:  # between space_batch nodes
        return (np.concatenate([reference(attrs, (x[i : i + 1], *arrays[1:]))[0] for i in range(x.shape[0])]),)
    oc = w.shape[3]
    centred = w[0].astype(np.int64) - np.array(attrs.weight_zero_point, np.int64)
    oh, ow = attrs.window.output(*x.shape[1:3])
    acc = np.zeros((oh, ow, oc), np.int64)
    for ky, kx, patch in taps(x[0].astype(np.int64), attrs.window, attrs.pad_value):
        acc += np.repeat(patch - attrs.input_zero_point, oc // x.shape[3], axis=2) * centred[ky, kx]
    acc += bias_or_zeros(arrays[2] if len(arrays) > 2 else None, oc)
    return (finish(acc, attrs).reshape(1, oh, ow, oc),)


def cost(node: Node, graph: Graph) -> Cost:
    """Output elements times kernel positions."""
    _, kh, kw, _ = graph.tensors[node.inputs[1]].shape
    return Cost(graph.tensors[node.outputs[0]].elements * kh * kw)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the depthwise family, weights with a zero point as centred int16; of one input channel a convolution.
    """
    require_folded(node)
    attrs: ConvAttrs = node.attrs
    w = graph.const(node.inputs[1])
    int4 = graph.tensors[node.inputs[1]].int4
    _, kh, kw, oc = w.shape
    _, h, width, c = graph.tensors[node.inputs[0]].shape
    _, oh, ow, _ = graph.tensors[node.outputs[0]].shape
    bias = graph.const(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(oc, np.int32)
    if c == 1:
        return (dot_call(attrs, (h, width, 1), w.transpose(3, 1, 2, 0), bias, (oh, ow, oc), int4=int4),)
    centred = w[0].astype(np.int16) - np.array(attrs.weight_zero_point, np.int16)
    wide = any(z != 0 for z in attrs.weight_zero_point)
    params = {
        **requant_params(attrs),
        "kh": kh,
        "kw": kw,
        "in_c": c,
        "in_w": width,
        "multiplier": oc // c,
        "stride_w": attrs.window.stride[1],
        "dil_w": attrs.window.dilation[1],
        "pad_left": attrs.window.pad[1],
        "pad_value": attrs.pad_value,
        "wide": wide,
    }
    if int4 and not wide:
        params["int4"] = True
    tables = (
        Table("weights", "int16_t" if wide else "int8_t", centred.reshape(-1)),
        Table("bias", "int32_t", bias),
        *requant_tables(attrs.requant, oc),
        Table("padding", "int8_t", np.full(c, attrs.pad_value, np.int8)),
    )
    rows = window_rows(attrs.window, h, width, c)
    return (Call("depthwise", params, tables, (rows,), oh, ow, oc, ow * oc, oc),)


OPERATOR = Operator(
    name="depthwise_conv_2d",
    summary="depthwise 2D convolution",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, constant_weights),
    tflite=("DEPTHWISE_CONV_2D",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    to_onnx=to_onnx,
)
