"""Division with broadcasting, as TFLite computes it: by the reciprocal of the divisor in fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Node, Requant, Tensor
from mcuc.kernels._base import Call, Table
from mcuc.numerics import one_over_one_plus_x, quantize_multiplier, rounding_shift_right, srdhm
from mcuc.ops._base import Built, Exported, Imported, Operator, int8_runtime, no_cost, scale_of, zero_point_of
from mcuc.ops._binary import binary_call, infer, scalar_table, viewable
from mcuc.ops._tflite import activation_range, checked_activation, fused_activation

# For magnitudes up to 255: sign bits that a 32-bit word has to spare, and 2^31 / d brought to [2^30, 2^31).
HEADROOM = np.array([31 - int(d).bit_length() for d in range(256)], np.int64)
INVERSE = one_over_one_plus_x((np.maximum(np.arange(256, dtype=np.int64), 1) << (HEADROOM + 1 - (np.arange(256) == 0)))
                              - (1 << 31))


@dataclass(frozen=True)
class DivideAttrs:
    """out = clamp(requant((a - zero_points[0]) / (b - zero_points[1])) + output_zero_point), in TFLite's steps.

    A divisor of 0, undefined in TFLite, gives the clamp's end of the dividend's sign, 0 / 0 the zero point.
    """

    zero_points: tuple[int, int]
    requant: Requant
    output_zero_point: int
    clamp: tuple[int, int] = (-128, 127)


def _requant(a: Tensor, b: Tensor, out: Tensor, where: str) -> Requant:
    """TFLite Micro, as its Python package computes it: in double precision from the float32 scales."""
    real = scale_of(a, where) / (scale_of(b, where) * scale_of(out, where))
    m, s = quantize_multiplier(real)
    return Requant("tflite_double", (m,), (s,))


def from_tflite(node: Imported) -> Built:
    """DIV of int8 tensors."""
    if node.unsigned:
        raise McucError("unsupported-operator", "DIV of uint8 tensors is not supported", where=node.where,
                        try_this="convert the model again with int8 activations")
    a, b, out = checked_activation(node, 0), checked_activation(node, 1), node.outputs[0]
    attrs = DivideAttrs(
        (zero_point_of(a, node.where), zero_point_of(b, node.where)),
        _requant(a, b, out, node.where),
        zero_point_of(out, node.where),
        activation_range(node.options.fusedActivationFunction, out, node.where),
    )
    return Built("divide", (a.name, b.name), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As DIV."""
    fused = fused_activation(node.attrs.clamp, graph.tensors[node.outputs[0]], node.name)
    return Exported("DIV", "DivOptions", {"fusedActivationFunction": fused})


def reference(attrs: DivideAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: a and b int8, broadcast against each other."""
    a, b = arrays[0], arrays[1]
    assert a is not None and b is not None
    n, d = np.broadcast_arrays(a.astype(np.int64) - attrs.zero_points[0], b.astype(np.int64) - attrs.zero_points[1])
    n = np.where(d < 0, -n, n)
    headroom = HEADROOM[np.where(n < 0, -1 - n, n)]
    quotient = srdhm(n << headroom, INVERSE[np.abs(d)])
    scaled = srdhm(quotient, attrs.requant.multiplier[0])
    right = 30 - HEADROOM[np.abs(d)] + headroom - attrs.requant.shift[0]
    out = rounding_shift_right(scaled, np.clip(right, 0, 31)) + attrs.output_zero_point
    low, high = attrs.clamp
    out = np.where(d == 0, np.where(n > 0, high, np.where(n < 0, low, attrs.output_zero_point)), out)
    return (np.clip(out, low, high).astype(np.int8),)


def within_shifts(node: Node, graph: Graph) -> str | None:
    """Dividend scale / (divisor scale * result scale) is 64 to 2^22, or fits the constant divisors: where it does not,
    TFLite shifts by more than 31 bits, which C++ leaves undefined."""
    attrs: DivideAttrs = node.attrs
    b = graph.tensors[node.inputs[1]]
    steps = np.arange(-128, 128) if b.data is None else b.data.astype(np.int64)
    divisors = np.abs(steps - attrs.zero_points[1])
    if b.data is not None and not divisors.all():
        return f"the constant divisor {b.name!r} has zeros"
    divisors = divisors[divisors > 0]
    right = 30 - HEADROOM[divisors]
    shift = attrs.requant.shift[0]
    if right.max(initial=0) + 31 - shift > 31 or right.min(initial=0) + 23 - shift < 0:
        return f"a ratio of about {2.0 ** (shift - 1):g}"
    return None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """A table where one operand is a constant scalar, else one call of the binary family."""
    attrs: DivideAttrs = node.attrs
    table = scalar_table(node, graph, reference)
    if table is not None:
        return (table,)
    params: dict[str, Any] = {
        "za": attrs.zero_points[0],
        "zb": attrs.zero_points[1],
        "mo": attrs.requant.multiplier[0],
        "right": 30 - attrs.requant.shift[0],
        "out_zp": attrs.output_zero_point,
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    tables = (Table("headroom", "uint8_t", HEADROOM), Table("inverse", "int32_t", INVERSE))
    return (binary_call("divide", node, graph, params, tables),)


OPERATOR = Operator(
    name="divide",
    summary="division",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, viewable, within_shifts),
    tflite=("DIV",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
)
