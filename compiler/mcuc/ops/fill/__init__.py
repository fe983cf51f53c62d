"""Fill: a tensor of one value, folded into a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Tensor
from mcuc.ops._base import Built, Imported, Operator, Shape, no_cost
from mcuc.ops._move import compile_time_only


@dataclass(frozen=True)
class FillAttrs:
    """shape: of the output."""

    shape: tuple[int, ...]


def from_tflite(node: Imported) -> Built:
    """FILL; the output's declared shape holds, the dimensions are checked against it when they are known."""
    return Built("fill", (node.input(0).name, node.input(1).name), FillAttrs(node.outputs[0].shape))


def infer(attrs: FillAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The attribute's shape."""
    return (attrs.shape,)


def reference(attrs: FillAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """dims integer [rank], value a scalar. Raises McucError when dims are not the declared shape."""
    dims, value = arrays[0], arrays[1]
    assert dims is not None and value is not None
    if tuple(dims.reshape(-1).tolist()) != attrs.shape or value.size != 1:
        raise McucError(
            "broken-model",
            f"FILL of dimensions {dims.reshape(-1).tolist()} with {value.size} values, declared {attrs.shape}",
            try_this="export the model with batch size 1", where="operator FILL")
    return (np.full(attrs.shape, value.reshape(-1)[0]),)


OPERATOR = Operator(
    name="fill",
    summary="a tensor of one value, at compile time",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    limits=(compile_time_only,),
    tflite=("FILL",),
    from_tflite=from_tflite,
)
