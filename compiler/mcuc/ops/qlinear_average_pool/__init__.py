"""Average pooling in float32 steps, as ONNX Runtime's QLinearAveragePool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._pool import infer, window_fits
from mcuc.ops._spatial import taps, window_rows
from mcuc.ops.qlinear_average_pool.attrs import QLinearPoolAttrs
from mcuc.ops.qlinear_average_pool.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.qlinear_average_pool.tflite import as_tflite


def reference(attrs: QLinearPoolAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """float32 reference in the runtime's order: x int8 [1, h, w, c]."""
    x = arrays[0]
    assert x is not None
    f32 = np.float32
    real = (x[0].astype(np.int64) - attrs.input_zero_point).astype(f32) * f32(attrs.input_scale)
    inside = np.ones(real.shape, f32)
    oh, ow = attrs.window.output(*x.shape[1:3])
    total, count = np.zeros((oh, ow, x.shape[3]), f32), np.zeros((oh, ow, x.shape[3]), f32)
    for (_, _, patch), (_, _, ones) in zip(taps(real, attrs.window, 0), taps(inside, attrs.window, 0), strict=True):
        total = (total + patch).astype(f32)
        count = count + ones
    if attrs.count_include_pad:
        count = np.full_like(count, attrs.window.kernel[0] * attrs.window.kernel[1])
    mean = (total / count).astype(f32)
    steps = np.rint((mean / f32(attrs.output_scale)).astype(f32) + f32(attrs.fixed))
    return (
        np.clip(np.clip(steps, -1e6, 1e6).astype(np.int64) - attrs.output_offset, *attrs.clamp).astype(np.int8)[None],
    )


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the pool family."""
    attrs: QLinearPoolAttrs = node.attrs
    window = attrs.window
    _, h, width, c = graph.tensors[node.inputs[0]].shape
    _, oh, ow, _ = graph.tensors[node.outputs[0]].shape
    params: dict[str, Any] = {
        "kind": "float32",
        "kh": window.kernel[0],
        "kw": window.kernel[1],
        "in_c": c,
        "in_w": width,
        "stride_w": window.stride[1],
        "dil_w": window.dilation[1],
        "pad_left": window.pad[1],
        "padded_w": bool(window.pad[1] or window.pad[3]),
        "count_include_pad": attrs.count_include_pad,
        "in_scale": bits(attrs.input_scale),
        "in_zp": attrs.input_zero_point,
        "out_scale": bits(attrs.output_scale),
        "fixed": attrs.fixed,
        "out_offset": attrs.output_offset,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    rows = window_rows(window, h, width, c)
    return (Call("pool", params, (), (rows,), oh, ow, c, ow * c, c),)


def bits(value: float) -> str:
    """A float32 as the C literal of its bits."""
    return f"0x{int(np.float32(value).view(np.uint32)):08X}"


OPERATOR = Operator(
    name="qlinear_average_pool",
    summary="average pooling in float32 steps (ONNX)",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, window_fits),
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
    as_tflite=as_tflite,
)
