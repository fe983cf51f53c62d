"""Each row over its length: TFLite's integer rounding (ONNX's LpNormalization is an RMS norm)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.fixed_point import inverse_sqrt
from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows
from mcuc.numerics import multiply_by_quantized_multiplier
from mcuc.ops._base import Built, Cost, Exported, Imported, Operator, Shape, int8_runtime, scale_of, zero_point_of
from mcuc.ops._tflite import checked_activation

OUTPUT = (1 / 128, 0)
MOST = 33025  # elements of a row whose squares add up to an int32


@dataclass(frozen=True)
class L2Attrs:
    """v = x - zero_point: v over the root of the row's sum of v * v, in steps of 1/128.

    first: the factor 128 is applied before the root's multiplier (uint8 kernels), else it is part of the shift behind.
    """

    zero_point: int
    first: bool


def infer(attrs: L2Attrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: L2Attrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 of any shape, along the last axis."""
    x = arrays[0]
    assert x is not None
    v = x.astype(np.int64) - attrs.zero_point
    multiplier, shift = inverse_sqrt((v * v).sum(axis=-1, keepdims=True))
    if attrs.first:
        scaled = multiply_by_quantized_multiplier(v * 128, multiplier, shift)
    else:
        scaled = multiply_by_quantized_multiplier(v, multiplier, shift + 7)
    return (np.clip(scaled, -128, 127).astype(np.int8),)


def cost(node: Node, graph: Graph) -> Cost:
    """One for each square."""
    return Cost(graph.tensors[node.outputs[0]].elements)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the norm family, each row a pixel."""
    shape = graph.tensors[node.outputs[0]].shape
    count = shape[-1]
    width = prod(shape) // max(1, count)
    params = {"kind": "l2", "count": count, "zero_point": node.attrs.zero_point, "first": node.attrs.first}
    rows = Rows(0, width * count, 1, columns=Columns(count))
    return (Call("norm", params, (), (rows,), 1, width, count, width * count, count, whole_channels=True),)


def short_rows(node: Node, graph: Graph) -> str | None:
    """At most 33025 elements are normalised together: TFLite adds their squares in 32 bits."""
    count = graph.tensors[node.inputs[0]].shape[-1]
    return f"{count} elements" if count > MOST else None


def _attrs(x: Tensor, out: Tensor, unsigned: bool, where: str) -> L2Attrs:
    found = scale_of(out, where), zero_point_of(out, where)
    if found != OUTPUT:
        raise McucError(
            "unsupported-quantization",
            f"L2_NORMALIZATION writes scale {found[0]} and zero point {found[1]}; TFLite demands 1/128 and 0",
            where=where,
            try_this="convert the model again with the standard TFLite converter",
        )
    return L2Attrs(zero_point_of(x, where), unsigned)


def from_tflite(node: Imported) -> Built:
    """Rank 1 to 4. Raises McucError on float tensors, a fused activation or another output quantization."""
    x = checked_activation(node, 0)
    if not 1 <= len(x.shape) <= 4 or node.options.fusedActivationFunction:
        raise McucError(
            "unsupported-operator",
            f"{node.kind} of rank {len(x.shape)} with fused activation {node.options.fusedActivationFunction}; rank 1 "
            "to 4 without activation is supported",
            where=node.where,
            try_this="reshape before it, and apply the activation behind it",
        )
    return Built("l2_normalization", (x.name,), _attrs(x, node.outputs[0], node.unsigned, node.where))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As L2_NORMALIZATION. Raises McucError for the rounding of uint8 kernels."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if _attrs(x, out, False, node.name) != node.attrs:
        raise McucError(
            "not-exportable",
            "the node rounds as TFLite's uint8 L2_NORMALIZATION",
            where=node.name,
            try_this="convert the model again with int8 activations",
        )
    return Exported("L2_NORMALIZATION", "L2NormOptions")


OPERATOR = Operator(
    name="l2_normalization",
    summary="each row of the last axis over its length",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, short_rows),
    tflite=("L2_NORMALIZATION",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
)
