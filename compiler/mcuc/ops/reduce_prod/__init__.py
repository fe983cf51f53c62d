"""Product along axes in shape computations, which are folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Tensor
from mcuc.ops._base import Built, Imported, Operator, Shape, no_cost
from mcuc.ops._move import compile_time_only


@dataclass(frozen=True)
class ReduceAttrs:
    """axes: counted from the front, ascending; keep: they stay as extents of 1."""

    axes: tuple[int, ...]
    keep: bool


def from_tflite(node: Imported) -> Built:
    """REDUCE_PROD over constant axes."""
    x = node.input(0)
    rank = len(x.shape)
    axes = sorted({int(a) + (rank if a < 0 else 0) for a in node.constant(1).reshape(-1)})
    if any(not 0 <= a < rank for a in axes):
        raise McucError(
            "broken-model",
            f"REDUCE_PROD over axes {axes} of {x.shape}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    return Built("reduce_prod", (x.name,), ReduceAttrs(tuple(axes), bool(node.options.keepDims)))


def infer(attrs: ReduceAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape without the axes, or with them as 1."""
    shape = inputs[0].shape
    if attrs.keep:
        return (tuple(1 if i in attrs.axes else n for i, n in enumerate(shape)),)
    return (tuple(n for i, n in enumerate(shape) if i not in attrs.axes),)


def reference(attrs: ReduceAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integers with wrap-around."""
    x = arrays[0]
    assert x is not None
    return (np.asarray(np.prod(x, axis=attrs.axes, dtype=x.dtype, keepdims=attrs.keep)),)


OPERATOR = Operator(
    name="reduce_prod",
    summary="product along axes, at compile time",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    limits=(compile_time_only,),
    tflite=("REDUCE_PROD",),
    from_tflite=from_tflite,
)
