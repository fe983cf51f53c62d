"""Max pooling over the taps that lie inside the input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, int8_runtime, no_cost
from mcuc.ops._pool import PoolAttrs, infer, pool_call, window_fits
from mcuc.ops._spatial import windows
from mcuc.ops.max_pool_2d.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.max_pool_2d.tflite import from_tflite, to_tflite


def reference(attrs: PoolAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 [1, h, w, c]."""
    x = arrays[0]
    assert x is not None
    highest = windows(x[0], attrs.window, -128).max((-2, -1))
    return (np.clip(highest, *attrs.clamp).astype(np.int8)[None],)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the pool family."""
    return (pool_call("max", node, graph),)


OPERATOR = Operator(
    name="max_pool_2d",
    summary="max pooling",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, window_fits),
    tflite=("MAX_POOL_2D",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
