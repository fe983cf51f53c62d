"""The square of the difference of two values, with broadcasting; operands and result of different scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Node, Requant, Tensor
from mcuc.kernels._base import Call
from mcuc.numerics import multiply_by_quantized_multiplier, quantize_multiplier, requantize
from mcuc.ops._base import Built, Exported, Imported, Operator, int8_runtime, no_cost, scale_of, zero_point_of
from mcuc.ops._binary import binary_call, infer, scalar_table, viewable
from mcuc.ops._tflite import checked_activation

LEFT_SHIFT = 7  # headroom that TFLite gives the operands before rescaling them: the square still fits into int32


@dataclass(frozen=True)
class SquaredDifferenceAttrs:
    """out = saturated(requant((A - B)^2) + output_zero_point).

    A = requants[0]((a - zero_points[0]) * 2^7), B likewise.
    """

    zero_points: tuple[int, int]
    requants: tuple[Requant, Requant]
    requant: Requant
    output_zero_point: int


def _attrs(a: Tensor, b: Tensor, out: Tensor, where: str) -> SquaredDifferenceAttrs:
    """TFLite Micro: all in double precision but for the product of 2^14 and the output's scale, in float32."""
    scales = scale_of(a, where), scale_of(b, where)
    twice_largest = 2 * max(scales)

    def requant(real: float) -> Requant:
        m, s = quantize_multiplier(real)
        return Requant("tflite_double", (m,), (s,))

    below = float(np.float32(1 << 2 * LEFT_SHIFT) * np.float32(scale_of(out, where)))
    return SquaredDifferenceAttrs(
        (zero_point_of(a, where), zero_point_of(b, where)),
        (requant(scales[0] / twice_largest), requant(scales[1] / twice_largest)),
        requant(twice_largest * twice_largest / below),
        zero_point_of(out, where),
    )


def from_tflite(node: Imported) -> Built:
    """SQUARED_DIFFERENCE of int8 tensors."""
    if node.unsigned:
        raise McucError("unsupported-operator", f"{node.kind} of uint8 tensors is not supported", where=node.where,
                        try_this="convert the model again with int8 activations")
    a, b = checked_activation(node, 0), checked_activation(node, 1)
    return Built("squared_difference", (a.name, b.name), _attrs(a, b, node.outputs[0], node.where))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As SQUARED_DIFFERENCE."""
    return Exported("SQUARED_DIFFERENCE", "SquaredDifferenceOptions")


def reference(attrs: SquaredDifferenceAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: a and b int8, broadcast against each other."""
    rescaled = []
    for x, zero_point, rule in zip(arrays, attrs.zero_points, attrs.requants, strict=True):
        assert x is not None
        shifted = (x.astype(np.int64) - zero_point) << LEFT_SHIFT
        rescaled.append(multiply_by_quantized_multiplier(shifted, rule.multiplier[0], rule.shift[0]))
    square = (rescaled[0] - rescaled[1]) ** 2
    out = requantize(square.reshape(-1, 1), attrs.requant, attrs.output_zero_point, -128, 127)
    return (out.reshape(square.shape),)


def no_overflow(node: Node, graph: Graph) -> str | None:
    """The result's scale is not so small that TFLite's shift leaves 32 bits."""
    shift = node.attrs.requant.shift[0]
    most = (255 << LEFT_SHIFT) ** 2 << max(shift, 0)
    return f"shift {shift}" if most >= 1 << 31 or shift < -31 else None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A table where one operand is a constant scalar, else one call of the binary family."""
    attrs: SquaredDifferenceAttrs = node.attrs
    table = scalar_table(node, graph, reference)
    if table is not None:
        return (table,)
    params: dict[str, Any] = {
        "za": attrs.zero_points[0],
        "zb": attrs.zero_points[1],
        "left_shift": LEFT_SHIFT,
        "ma": attrs.requants[0].multiplier[0],
        "sa": attrs.requants[0].shift[0],
        "mb": attrs.requants[1].multiplier[0],
        "sb": attrs.requants[1].shift[0],
        "mo": attrs.requant.multiplier[0],
        "so": attrs.requant.shift[0],
        "out_zp": attrs.output_zero_point,
        "act_min": -128,
        "act_max": 127,
    }
    return (binary_call("squared_difference", node, graph, params, ()),)


OPERATOR = Operator(
    name="squared_difference",
    summary="square of the difference of two values",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, viewable, no_overflow),
    tflite=("SQUARED_DIFFERENCE",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
)
