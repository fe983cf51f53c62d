"""3D convolution, of ONNX only: TFLite has it in float alone. Every output slice is a 2D one over slices of x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Rows
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._conv import UNIT, ConvAttrs, bias_or_zeros, dot_call, finish, matmul_exact
from mcuc.ops._spatial import Window, taps
from mcuc.ops.conv_3d.onnx import KINDS, from_onnx, to_onnx

MOST_SLICES = 64  # of the output, each of which is a piece of the layer's code


@dataclass(frozen=True)
class Conv3DAttrs(ConvAttrs):
    """As a 2D convolution's; window is that over height and width. depth: the window over the depth, as a height."""

    depth: Window = UNIT


def infer(attrs: Conv3DAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [1, d, h, w, c], weights [oc, kd, kh, kw, c / groups] -> [1, od, oh, ow, oc]."""
    _, d, h, w, _ = inputs[0].shape
    return ((1, attrs.depth.output(d, 1)[0], *attrs.window.output(h, w), inputs[1].shape[0]),)


def reference(attrs: Conv3DAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 [1, d, h, w, c], weights int8 [oc, kd, kh, kw, cg], bias int32 [oc] or None."""
    x, w = arrays[0], arrays[1]
    assert x is not None and w is not None
    oc, _, _, _, cg = w.shape
    _, d, h, width, _ = x.shape
    od, (oh, ow) = attrs.depth.output(d, 1)[0], attrs.window.output(h, width)
    centred = w.astype(np.int64) - np.array(attrs.weight_zero_point, np.int64).reshape(-1, 1, 1, 1, 1)
    acc = np.zeros((od, oh * ow, oc), np.int64)
    per_group = oc // attrs.groups
    for z in range(od):
        for kz, source in _slices(attrs.depth, z, d):
            fill = np.full(x.shape[2:], attrs.pad_value)
            plane = (fill if source is None else x[0, source]).astype(np.int64)
            for ky, kx, patch in taps(plane, attrs.window, attrs.pad_value):
                values = patch.reshape(oh * ow, -1) - attrs.input_zero_point
                for g in range(attrs.groups):
                    outs = slice(g * per_group, (g + 1) * per_group)
                    acc[z, :, outs] += matmul_exact(values[:, g * cg : (g + 1) * cg], centred[outs, kz, ky, kx])
    acc += bias_or_zeros(arrays[2] if len(arrays) > 2 else None, oc)
    return (finish(acc.reshape(-1, oc), attrs).reshape(1, od, oh, ow, oc),)


def _slices(depth: Window, z: int, slices: int) -> list[tuple[int, int | None]]:
    """For every kernel slice the input slice that output slice z reads, None in the padding."""
    first = z * depth.stride[0] - depth.pad[0]
    at = [first + k * depth.dilation[0] for k in range(depth.kernel[0])]
    return [(k, n if 0 <= n < slices else None) for k, n in enumerate(at)]


def cost(node: Node, graph: Graph) -> Cost:
    """Output elements times weights per output channel."""
    w = graph.tensors[node.inputs[1]]
    return Cost(graph.tensors[node.outputs[0]].elements * (w.elements // w.shape[0]))


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A call of the dot family for every slice of the output: its rows are those of all the slices that it reads."""
    attrs: Conv3DAttrs = node.attrs
    w = graph.const(node.inputs[1])
    oc, kd, kh, kw, cg = w.shape
    _, d, h, width, c = graph.tensors[node.inputs[0]].shape
    _, od, oh, ow, _ = graph.tensors[node.outputs[0]].shape
    zeros = np.array(attrs.weight_zero_point, np.int64).reshape(-1, 1)
    sums = (w.reshape(oc, -1).astype(np.int64) - zeros).sum(1)
    bias = graph.const(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    folded = bias_or_zeros(bias, oc) - attrs.input_zero_point * sums
    wrapped = (((folded + 2**31) & 0xFFFFFFFF) - 2**31).astype(np.int32)
    window = attrs.window
    if any(attrs.depth.pad):  # rows of a slice in the padding are padding, also where the window has none
        window = replace(window, pad=(*window.pad[:3], max(1, window.pad[3])))
    plain = replace(attrs, window=window, input_zero_point=0, pad_value=attrs.input_zero_point)
    flat = np.ascontiguousarray(w.reshape(oc, kd * kh, kw, cg))
    call = dot_call(plain, (h, width, c), flat, wrapped, (oh, ow, oc), merged=False)
    (row,) = call.rows
    calls = []
    for z in range(od):
        rows = tuple(_rows_of(row, source, h, kh) for _, source in _slices(attrs.depth, z, d))
        calls.append(replace(call, rows=rows, out_offset=z * oh * ow * oc))
    return tuple(calls)


def _rows_of(row: Rows, source: int | None, height: int, count: int) -> Rows:
    """The rows of one input slice, or of none. A part of the tensor: without columns, which would tell other bytes."""
    if source is None:
        return replace(row, height=0, count=count, columns=None)
    return replace(row, count=count, offset=source * height * row.row_bytes, columns=None)


def constant_weights(node: Node, graph: Graph) -> str | None:
    """Weights and bias are constants, weights int8 of rank 5; the output has at most 64 slices."""
    w, out = graph.tensors[node.inputs[1]], graph.tensors[node.outputs[0]]
    if w.data is None or w.dtype.value != "int8" or len(w.shape) != 5:
        return f"weights {w.name!r} are {w.dtype.value} of shape {w.shape}"
    return f"an output of {out.shape[1]} slices" if out.shape[1] > MOST_SLICES else None


OPERATOR = Operator(
    name="conv_3d",
    summary="3D convolution",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, constant_weights),
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
