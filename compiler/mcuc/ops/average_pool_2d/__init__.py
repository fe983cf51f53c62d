"""Average pooling over the taps that lie inside the input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._pool import PoolAttrs, infer, pool_call, window_fits
from mcuc.ops._reduce import reduction_calls
from mcuc.ops._spatial import windows
from mcuc.ops.average_pool_2d.onnx import to_onnx
from mcuc.ops.average_pool_2d.tflite import from_tflite, to_tflite


def reference(attrs: PoolAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 [1, h, w, c]."""
    x = arrays[0]
    assert x is not None
    return (averages(attrs, x[0]).astype(np.int8)[None],)


def averages(attrs: PoolAttrs, image: Array) -> Array:
    """The clamped averages of image [h, w, c], integers of any size."""
    values = image.astype(np.int64)
    fill = attrs.pad_value if attrs.count_include_pad else 0
    total = windows(values, attrs.window, fill).sum((-2, -1))
    inside = np.ones((*values.shape[:2], 1), np.int64)
    count = windows(inside, attrs.window, int(attrs.count_include_pad)).sum((-2, -1))
    offset = 128 * count if attrs.rounding == "half_up_uint8" else 0 * count
    shifted = total + offset
    half = count // 2
    # C division truncates, so half is added on the side of the sign.
    mean = np.where(shifted > 0, (shifted + half) // count, -((half - shifted) // count)) - offset // count
    clamped: Array = np.clip(mean, *attrs.clamp)
    return clamped


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the pool family."""
    return (pool_call("average", node, graph),)


def reduction(node: Node, graph: Graph) -> tuple[Call, Call] | None:
    """Global pooling: one window that is the whole input."""
    attrs: PoolAttrs = node.attrs
    _, h, w, _ = graph.tensors[node.inputs[0]].shape
    _, oh, ow, _ = graph.tensors[node.outputs[0]].shape
    if attrs.window.kernel != (h, w) or attrs.window.pad != (0, 0, 0, 0) or (oh, ow) != (1, 1):
        return None
    low, high = attrs.clamp
    params = {"count": h * w, "rounding": attrs.rounding, "act_min": low, "act_max": high}
    return reduction_calls(node, graph, "average", params)


OPERATOR = Operator(
    name="average_pool_2d",
    summary="average pooling",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    reduction=reduction,
    limits=(int8_runtime, window_fits),
    tflite=("AVERAGE_POOL_2D",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    to_onnx=to_onnx,
)
