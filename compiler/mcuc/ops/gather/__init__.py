"""Gather: picks slices by constant indices. Exporters write it in shape computations, which are folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Tensor
from mcuc.ops._base import Built, Imported, Operator, Shape, no_cost
from mcuc.ops._move import compile_time_only


@dataclass(frozen=True)
class GatherAttrs:
    """axis: of the data, counted from the front."""

    axis: int


def from_tflite(node: Imported) -> Built:
    """GATHER without batch dimensions."""
    x = node.input(0)
    axis = int(node.options.axis) + (len(x.shape) if node.options.axis < 0 else 0)
    if getattr(node.options, "batchDims", 0) or not 0 <= axis < len(x.shape):
        raise McucError(
            "unsupported-gather",
            f"GATHER along axis {node.options.axis} of {x.shape}, batch_dims {node.options.batchDims}",
            where=node.where,
            try_this="gather without batch dimensions",
        )
    return Built("gather", (x.name, node.input(1).name), GatherAttrs(axis))


def infer(attrs: GatherAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The data's shape with the indices' shape in place of the axis."""
    shape = inputs[0].shape
    return ((*shape[: attrs.axis], *inputs[1].shape, *shape[attrs.axis + 1 :]),)


def reference(attrs: GatherAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Data of any type, integer indices (negative: from the end). Raises McucError outside the axis."""
    x, indices = arrays[0], arrays[1]
    assert x is not None and indices is not None
    extent = x.shape[attrs.axis]
    if indices.size and (int(indices.min()) < -extent or int(indices.max()) >= extent):
        raise McucError(
            "broken-model",
            f"GATHER index outside an axis of {extent}",
            try_this="check that the model file is complete", where="operator GATHER")
    return (np.take(x, indices, attrs.axis),)


OPERATOR = Operator(
    name="gather",
    summary="pick by indices, at compile time",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    limits=(compile_time_only,),
    tflite=("GATHER",),
    from_tflite=from_tflite,
)
