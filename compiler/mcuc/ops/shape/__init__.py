"""Shape of a tensor: known at compile time, so it becomes a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array, DType, Tensor
from mcuc.ops._base import Built, Imported, Operator, Shape, no_cost
from mcuc.ops._move import compile_time_only


@dataclass(frozen=True)
class ShapeAttrs:
    """values: the input's static shape; the node therefore has no inputs."""

    values: tuple[int, ...]
    dtype: DType = DType.INT32


def from_tflite(node: Imported) -> Built:
    """SHAPE reads no data: shapes are static once the batch is 1."""
    return Built("shape", (), ShapeAttrs(node.input(0).shape, node.outputs[0].dtype))


def infer(attrs: ShapeAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """One value per axis."""
    return ((len(attrs.values),),)


def reference(attrs: ShapeAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """The shape as integers."""
    return (np.array(attrs.values, attrs.dtype.value),)


OPERATOR = Operator(
    name="shape",
    summary="shape of a tensor, at compile time",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    limits=(compile_time_only,),
    tflite=("SHAPE",),
    from_tflite=from_tflite,
)
