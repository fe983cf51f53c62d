"""Dequantize: int8 to float. It occurs at the model's outputs, where the pass normalize_boundary removes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost, scale_of, zero_point_of


@dataclass(frozen=True)
class DequantizeAttrs:
    """real = scale * (integer - zero_point)."""

    scale: float
    zero_point: int


def from_tflite(node: Imported) -> Built:
    """DEQUANTIZE of an int8 tensor. Raises McucError for float16 and hybrid weights."""
    x = node.input(0)
    if x.dtype is not DType.INT8:
        raise McucError(
            "not-quantized",
            f"DEQUANTIZE of {x.name!r} ({x.dtype.value})",
            where=node.where,
            try_this="convert with full integer quantization to int8",
        )
    return Built("dequantize", (x.name,), DequantizeAttrs(scale_of(x, node.where), zero_point_of(x, node.where)))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As DEQUANTIZE."""
    return Exported("DEQUANTIZE", "DequantizeOptions")


def infer(attrs: DequantizeAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: DequantizeAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x int8 -> float32, the product in double as TFLite does."""
    x = arrays[0]
    assert x is not None
    return ((attrs.scale * (x.astype(np.float64) - attrs.zero_point)).astype(np.float32),)


def boundary_only(node: Node, graph: Graph) -> str | None:
    """Float tensors occur only as the model's outputs, where they become int8 outputs."""
    return f"float tensor {node.outputs[0]!r} inside the network"


OPERATOR = Operator(
    name="dequantize",
    summary="int8 to float, at the model's outputs only",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=None,
    limits=(boundary_only,),
    tflite=("DEQUANTIZE",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
