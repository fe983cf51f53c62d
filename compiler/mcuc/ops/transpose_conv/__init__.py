"""Transposed 2D convolution: stride, dilation, groups, any cut of the output, per-channel weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._conv import bias_or_zeros, dot_call, finish, matmul_exact
from mcuc.ops._spatial import Window
from mcuc.ops.conv_2d import constant_weights
from mcuc.ops.transpose_conv.attrs import Phase, TransposeConvAttrs, phases
from mcuc.ops.transpose_conv.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.transpose_conv.tflite import from_tflite, to_tflite


def infer(attrs: TransposeConvAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [1, h, w, c], weights [oc, kh, kw, c / groups] -> [1, *size, oc]."""
    return ((1, *attrs.size, inputs[1].shape[0]),)


def reference(attrs: TransposeConvAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 [1, h, w, c], weights int8 [oc, kh, kw, cg], bias int32 [oc] or None."""
    x, w = arrays[0], arrays[1]
    assert x is not None and w is not None
    acc = accumulated(attrs, x, w) + bias_or_zeros(arrays[2] if len(arrays) > 2 else None, w.shape[0])
    return (finish(acc.reshape(-1, w.shape[0]), attrs).reshape(1, *attrs.size, -1),)


def accumulated(attrs: TransposeConvAttrs, x: Array, w: Array) -> Array:
    """The sums [height, width, oc] of x [1, h, w, c] with weights [oc, kh, kw, cg], without the bias."""
    oc, kh, kw, cg = w.shape
    _, h, width, _ = x.shape
    window, (height, columns) = attrs.window, attrs.size
    (sh, sw), (dh, dw), (top, left) = window.stride, window.dilation, window.pad[:2]
    centred = w.astype(np.int64) - np.array(attrs.weight_zero_point, np.int64).reshape(-1, 1, 1, 1)
    steps = x[0].astype(np.int64).reshape(h * width, -1) - attrs.input_zero_point
    full_h, full_w = (h - 1) * sh + (kh - 1) * dh + 1, (width - 1) * sw + (kw - 1) * dw + 1
    full = np.zeros((max(full_h, top + height), max(full_w, left + columns), oc), np.int64)
    per_group = oc // attrs.groups
    for ky in range(kh):
        for kx in range(kw):
            ys = slice(ky * dh, ky * dh + (h - 1) * sh + 1, sh)
            xs = slice(kx * dw, kx * dw + (width - 1) * sw + 1, sw)
            for g in range(attrs.groups):
                outs = slice(g * per_group, (g + 1) * per_group)
                part = matmul_exact(steps[:, g * cg : (g + 1) * cg], centred[outs, ky, kx])
                full[ys, xs, outs] += part.reshape(h, width, per_group)
    return full[top : top + height, left : left + columns]


def cost(node: Node, graph: Graph) -> Cost:
    """Input pixels times weights: every input meets every weight once."""
    w = graph.tensors[node.inputs[1]]
    _, h, width, _ = graph.tensors[node.inputs[0]].shape
    return Cost(h * width * w.elements)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A call of the dot family for every combination of phases: outputs a stride apart are a plain convolution."""
    attrs: TransposeConvAttrs = node.attrs
    w = graph.const(node.inputs[1])
    bias = graph.const(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    x = graph.tensors[node.inputs[0]].shape[1:]
    return tuple(_phase_call(attrs, x, part, bias) for part in parts(attrs, x, w))


@dataclass(frozen=True, eq=False)
class Part:
    """A plain convolution of stride 1 that computes the outputs of two phases; weights [oc, taps, taps, cg]."""

    rows: Phase
    columns: Phase
    weights: Array
    window: Window

    def placed(self, call: Call, attrs: TransposeConvAttrs, pixel: int) -> Call:
        """The call with its outputs, of `pixel` bytes each, a stride apart."""
        if attrs.window.stride == (1, 1):
            return call
        (sh, sw), out_w = attrs.window.stride, attrs.size[1]
        at = (self.rows.first * out_w + self.columns.first) * pixel
        return replace(call, out_row_bytes=sh * out_w * pixel, out_stride=sw * pixel, out_offset=at)


def parts(attrs: TransposeConvAttrs, x: tuple[int, ...], w: Array) -> list[Part]:
    """The convolutions that a transposed one over x (h, w, c) is made of."""
    rows, columns = (phases(attrs.window, axis, attrs.size[axis]) for axis in (0, 1))
    return [_part(attrs, x, w, py, px) for py in rows for px in columns]


def _part(attrs: TransposeConvAttrs, x: tuple[int, ...], w: Array, py: Phase, px: Phase) -> Part:
    oc, _, _, cg = w.shape
    zeros = np.array(attrs.weight_zero_point, np.int64).reshape(-1, 1, 1, 1)
    used = w[:, list(py.taps)][:, :, list(px.taps)]
    if not used.size:  # no tap reaches these outputs: they are the bias's, as of one tap of no weight
        used = np.broadcast_to(zeros, (oc, 1, 1, cg)).astype(np.int8)
        py, px = replace(py, taps=(0,), dilation=1, pad=0), replace(px, taps=(0,), dilation=1, pad=0)
    # Read beyond its end as well, so that the shared lowering sees padding where there is any.
    ends = [
        max(0, p.count + (len(p.taps) - 1) * p.dilation - p.pad - extent)
        for p, extent in ((py, x[0]), (px, x[1]))
    ]
    window = Window(
        (len(py.taps), len(px.taps)), (1, 1), (py.dilation, px.dilation), (py.pad, px.pad, ends[0], ends[1])
    )
    return Part(py, px, used, window)


def _phase_call(attrs: TransposeConvAttrs, x: tuple[int, ...], part: Part, bias: Array | None) -> Call:
    h, width, c = x
    oc = part.weights.shape[0]
    zeros = np.array(attrs.weight_zero_point, np.int64).reshape(-1, 1, 1, 1)
    sums = (part.weights.astype(np.int64) - zeros).sum(axis=(1, 2, 3))
    folded = bias_or_zeros(bias, oc) - attrs.input_zero_point * sums
    wrapped = (((folded + 2**31) & 0xFFFFFFFF) - 2**31).astype(np.int32)
    plain = replace(attrs, window=part.window, input_zero_point=0, pad_value=attrs.input_zero_point)
    out = (part.rows.count, part.columns.count, oc)
    call = dot_call(plain, (h, width, c), part.weights, wrapped, out, merged=attrs.window.stride == (1, 1))
    return part.placed(call, attrs, oc)


OPERATOR = Operator(
    name="transpose_conv",
    summary="transposed 2D convolution",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, constant_weights),
    tflite=("TRANSPOSE_CONV",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
