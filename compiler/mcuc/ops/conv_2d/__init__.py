"""2D convolution: stride, dilation, groups, every padding, per-channel weights, weight zero points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._conv import ConvAttrs, bias_or_zeros, dot_call, finish, matmul_exact, require_folded
from mcuc.ops._spatial import taps
from mcuc.ops.conv_2d.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.conv_2d.tflite import from_tflite, to_tflite


def infer(attrs: ConvAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [n, h, w, c], weights [oc, kh, kw, c / groups] -> [n, oh, ow, oc]."""
    n, h, w, _ = inputs[0].shape
    oh, ow = attrs.window.output(h, w)
    return ((n, oh, ow, inputs[1].shape[0]),)


def reference(attrs: ConvAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 [1, h, w, c], weights int8 [oc, kh, kw, cg], bias int32 [oc] or None."""
    x, w = arrays[0], arrays[1]
    assert x is not None and w is not None
    if x.shape[0] > 1:  # between space_batch nodes
        return (np.concatenate([reference(attrs, (x[i : i + 1], *arrays[1:]))[0] for i in range(x.shape[0])]),)
    oc, _, _, cg = w.shape
    centred = w.astype(np.int64) - np.array(attrs.weight_zero_point, np.int64).reshape(-1, 1, 1, 1)
    oh, ow = attrs.window.output(*x.shape[1:3])
    acc = np.zeros((oh * ow, oc), np.int64)
    per_group = oc // attrs.groups
    for ky, kx, patch in taps(x[0].astype(np.int64), attrs.window, attrs.pad_value):
        values = patch.reshape(oh * ow, -1) - attrs.input_zero_point
        for g in range(attrs.groups):
            outs = slice(g * per_group, (g + 1) * per_group)
            acc[:, outs] += matmul_exact(values[:, g * cg : (g + 1) * cg], centred[outs, ky, kx])
    acc += bias_or_zeros(arrays[2] if len(arrays) > 2 else None, oc)
    return (finish(acc, attrs).reshape(1, oh, ow, oc),)


def cost(node: Node, graph: Graph) -> Cost:
    """Output elements times weights per output channel."""
    _, kh, kw, cg = graph.tensors[node.inputs[1]].shape
    return Cost(graph.tensors[node.outputs[0]].elements * kh * kw * cg)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the dot family."""
    require_folded(node)
    w = graph.const(node.inputs[1])
    _, h, width, c = graph.tensors[node.inputs[0]].shape
    _, oh, ow, oc = graph.tensors[node.outputs[0]].shape
    bias = graph.const(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(oc, np.int32)
    int4 = graph.tensors[node.inputs[1]].int4
    return (dot_call(node.attrs, (h, width, c), w, bias, (oh, ow, oc), int4=int4),)


def constant_weights(node: Node, graph: Graph) -> str | None:
    """Weights and bias are constants, weights int8 of rank 4."""
    w = graph.tensors[node.inputs[1]]
    if w.data is None:
        return f"weights {w.name!r} are computed at run time"
    if w.dtype.value != "int8" or len(w.shape) != 4:
        return f"weights {w.name!r} are {w.dtype.value} of shape {w.shape}"
    return None


OPERATOR = Operator(
    name="conv_2d",
    summary="2D convolution",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, constant_weights),
    tflite=("CONV_2D",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
