"""2D convolution of int16 activations and int8 weights (TFLite's 16x8)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call, Table
from mcuc.ops._base import Operator, int16_runtime
from mcuc.ops._conv import ConvAttrs, bias_or_zeros, matmul_exact
from mcuc.ops._spatial import taps, window_rows
from mcuc.ops._wide import bias_of, constant_weights, finish16, mac_params, mac_tables, short_sums
from mcuc.ops.conv_2d import cost, infer
from mcuc.ops.conv_2d.tflite import to_tflite
from mcuc.ops.conv_2d_16x8.tflite import from_tflite


def reference(attrs: ConvAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int16 [1, h, w, c], weights int8 [oc, kh, kw, cg], bias int64 or int32 [oc] or None."""
    x, w = arrays[0], arrays[1]
    assert x is not None and w is not None
    if x.shape[0] > 1:  # between space_batch nodes
        return (np.concatenate([reference(attrs, (x[i : i + 1], *arrays[1:]))[0] for i in range(x.shape[0])]),)
    oc, _, _, cg = w.shape
    oh, ow = attrs.window.output(*x.shape[1:3])
    acc = np.zeros((oh * ow, oc), np.int64)
    per_group = oc // attrs.groups
    for ky, kx, patch in taps(x[0].astype(np.int64), attrs.window, 0):
        values = patch.reshape(oh * ow, -1)
        for g in range(attrs.groups):
            outs = slice(g * per_group, (g + 1) * per_group)
            acc[:, outs] += matmul_exact(values[:, g * cg : (g + 1) * cg], w[outs, ky, kx])
    acc += bias_or_zeros(arrays[2] if len(arrays) > 2 else None, oc)
    return (finish16(acc, attrs).reshape(1, oh, ow, oc),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the dot16 family."""
    w, bias = graph.const(node.inputs[1]), bias_of(node, graph)
    _, h, width, c = graph.tensors[node.inputs[0]].shape
    _, oh, ow, _ = graph.tensors[node.outputs[0]].shape
    return (dot16_call(node.attrs, (h, width, c), w, bias, (oh, ow)),)


def dot16_call(
    attrs: ConvAttrs, x: tuple[int, int, int], w: Array, bias: Array, out: tuple[int, int], merged: bool = True
) -> Call:
    """A call of the dot16 family. x: input h, w, c; w [oc, kh, kw, c / groups]; out: output h, w. merged: a 1x1 layer
    may be one long row (not where its output rows lie apart)."""
    oc, kh, kw, cg = w.shape
    h, width, c = x
    oh, ow = out
    window = attrs.window
    pointwise = (kh, kw) == (1, 1) and window.stride == (1, 1) and window.pad == (0, 0, 0, 0) and attrs.groups == 1
    if pointwise and merged:  # a 1x1 layer is one long row
        h, width, oh, ow = 1, h * width, 1, oh * ow
    flat = w.reshape(oc, -1)
    params = {
        **mac_params(attrs, flat, bias),
        "outs": oc,
        "taps": flat.shape[1],
        "kh": kh,
        "kw": kw,
        "cin": 2 * cg,  # the patch is gathered by bytes
        "in_c": 2 * c,
        "in_w": width,
        "groups": attrs.groups,
        "stride_w": window.stride[1],
        "dil_w": window.dilation[1],
        "pad_left": window.pad[1],
        "pad_value": 0,
        "pointwise": pointwise,
    }
    tables = (Table("weights", "int8_t", flat.reshape(-1)), *mac_tables(params, attrs.requant, bias))
    rows = window_rows(window, h, width, 2 * c)
    return Call("dot16", params, tables, (rows,), oh, ow, 2 * oc, 2 * ow * oc, 2 * oc, whole_channels=True)


OPERATOR = Operator(
    name="conv_2d_16x8",
    summary="2D convolution of int16 activations",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int16_runtime, constant_weights, short_sums),
    tflite=("CONV_2D",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    wide=True,
)
