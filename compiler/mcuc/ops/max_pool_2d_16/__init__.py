"""Max pooling of int16 activations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, int16_runtime, no_cost
from mcuc.ops._pool import PoolAttrs, infer, pool_call, window_fits
from mcuc.ops._spatial import windows
from mcuc.ops._wide import INT16
from mcuc.ops.max_pool_2d_16.tflite import from_tflite, to_tflite


def reference(attrs: PoolAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int16 [1, h, w, c]."""
    x = arrays[0]
    assert x is not None
    highest = windows(x[0], attrs.window, INT16[0]).max((-2, -1))
    return (np.clip(highest, *attrs.clamp).astype(np.int16)[None],)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the pool16 family."""
    return (pool_call("max", node, graph),)


OPERATOR = Operator(
    name="max_pool_2d_16",
    summary="max pooling of int16 activations",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int16_runtime, window_fits),
    tflite=("MAX_POOL_2D",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    wide=True,
)
