"""Average pooling of int16 activations, over the taps that lie inside the input."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops import average_pool_2d
from mcuc.ops._base import Operator, int16_runtime, no_cost
from mcuc.ops._pool import PoolAttrs, infer, pool_call, window_fits
from mcuc.ops.average_pool_2d_16.tflite import from_tflite, to_tflite

MOST_ELEMENTS = 65535  # of -32768 each, in 32 bits


def reference(attrs: PoolAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int16 [1, h, w, c]; the quotient half away from zero."""
    x = arrays[0]
    assert x is not None
    return (average_pool_2d.averages(attrs, x[0]).astype(np.int16)[None],)


def short_sums(node: Node, graph: Graph) -> str | None:
    """At most 65535 elements are averaged."""
    count = prod(node.attrs.window.kernel)
    return f"a window of {count} elements" if count > MOST_ELEMENTS else None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the pool16 family."""
    return (pool_call("average", node, graph),)


OPERATOR = Operator(
    name="average_pool_2d_16",
    summary="average pooling of int16 activations",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int16_runtime, window_fits, short_sums),
    tflite=("AVERAGE_POOL_2D",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    wide=True,
)
