"""Cast between integer types in shape computations, which are folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.ir import Array, DType, Tensor
from mcuc.ops._base import Built, Imported, Operator, Shape, no_cost
from mcuc.ops._move import compile_time_only


@dataclass(frozen=True)
class CastAttrs:
    """dtype: of the output."""

    dtype: DType


def from_tflite(node: Imported) -> Built:
    """CAST; the output tensor says the type."""
    return Built("cast", (node.input(0).name,), CastAttrs(node.outputs[0].dtype))


def infer(attrs: CastAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: CastAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """As C converts."""
    x = arrays[0]
    assert x is not None
    return (x.astype(attrs.dtype.value),)


OPERATOR = Operator(
    name="cast",
    summary="type conversion, at compile time",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    limits=(compile_time_only,),
    tflite=("CAST",),
    from_tflite=from_tflite,
)
