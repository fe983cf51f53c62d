"""Fill: a tensor of one value, folded into a constant, or a value that is repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Tensor
from mcuc.ops._base import Built, Imported, Operator, Shape, no_cost
from mcuc.ops._move import compile_time_only
from mcuc.ops.rearrange import RearrangeAttrs


@dataclass(frozen=True)
class FillAttrs:
    """shape: of the output."""

    shape: tuple[int, ...]


def from_tflite(node: Imported) -> Built:
    """FILL, ZEROS_LIKE; the output's declared shape holds, the dimensions are checked when they are known.

    A value that is computed at run time is repeated; zeros are the integer 0, as TFLite Micro writes them.
    """
    out = node.outputs[0]
    if node.kind == "ZEROS_LIKE":
        if node.unsigned:
            raise McucError(
                "unsupported-operator",
                "ZEROS_LIKE of uint8 tensors is not supported",
                where=node.where,
                try_this="convert the model again with int8 activations",
            )
        dims = Tensor(f"{out.name}/shape", (len(out.shape),), DType.INT32, None, np.array(out.shape, np.int32))
        zero = Tensor(f"{out.name}/zero", (), out.dtype, out.quant, np.zeros((), out.dtype.value))
        return Built("fill", (dims.name, zero.name), FillAttrs(out.shape), (dims, zero))
    value = node.input(1)
    if value.data is None:
        wanted = tuple(int(n) for n in node.constant(0).reshape(-1))
        if value.elements != 1 or wanted != out.shape:
            raise McucError(
                "broken-model",
                f"FILL of dimensions {wanted} with {value.elements} values, declared {out.shape}",
                where=node.where,
                try_this="export the model with batch size 1",
            )
        return Built("rearrange", (value.name,), RearrangeAttrs(((out.elements, 0),), out.shape))
    return Built("fill", (node.input(0).name, value.name), FillAttrs(out.shape))


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
    tflite=("FILL", "ZEROS_LIKE"),
    from_tflite=from_tflite,
)
