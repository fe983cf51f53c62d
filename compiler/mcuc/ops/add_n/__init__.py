"""Sum of several values of one shape and scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Node, Requant, Tensor
from mcuc.kernels._base import Call
from mcuc.numerics import quantize_multiplier, requantize
from mcuc.ops._base import Built, Exported, Imported, Operator, int8_runtime, no_cost, scale_of, zero_point_of
from mcuc.ops._binary import binary_call, infer, viewable
from mcuc.ops._tflite import checked_activation

LEFT_SHIFT = 20  # headroom that TFLite gives the operands; half of it goes when they are rescaled by 1 / 2


@dataclass(frozen=True)
class AddNAttrs:
    """out = saturated(requant(2^19 * (sum of (x - zero_point) - zero_point)) + output_zero_point).

    TFLite's sum starts at a stored 0, which is worth -zero_point.
    """

    zero_point: int
    requant: Requant
    output_zero_point: int


def _attrs(x: Tensor, out: Tensor, where: str) -> AddNAttrs:
    m, s = quantize_multiplier(2 * scale_of(x, where) / ((1 << LEFT_SHIFT) * scale_of(out, where)))
    return AddNAttrs(zero_point_of(x, where), Requant("tflite_double", (m,), (s,)), zero_point_of(out, where))


def from_tflite(node: Imported) -> Built:
    """ADD_N: TFLite demands one shape and one quantization of all operands."""
    parts = [checked_activation(node, i) for i in range(len(node.inputs))]
    if len(parts) < 2 or len({(p.shape, p.quant) for p in parts}) > 1 or node.unsigned:
        raise McucError("unsupported-quantization", "ADD_N of tensors of different shapes or scales, or of uint8",
                        where=node.where, try_this="add two at a time: x + y + z")
    return Built("add_n", tuple(p.name for p in parts), _attrs(parts[0], node.outputs[0], node.where))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As ADD_N."""
    return Exported("ADD_N", "AddNOptions")


def reference(attrs: AddNAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: int8 arrays of one shape."""
    steps = [x.astype(np.int64) - attrs.zero_point for x in arrays if x is not None]
    total = np.sum(steps, axis=0) - attrs.zero_point
    out = requantize((total << (LEFT_SHIFT - 1)).reshape(-1, 1), attrs.requant, attrs.output_zero_point, -128, 127)
    return (out.reshape(total.shape),)


def fifteen(node: Node, graph: Graph) -> str | None:
    """At most 15 operands (more may overflow TFLite's 32-bit sum)."""
    return f"{len(node.inputs)} operands" if len(node.inputs) > 15 else None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the binary family."""
    attrs: AddNAttrs = node.attrs
    params = {
        "count": len(node.inputs),
        "start": -attrs.zero_point * (len(node.inputs) + 1),
        "mo": attrs.requant.multiplier[0],
        "so": attrs.requant.shift[0],
        "out_zp": attrs.output_zero_point,
    }
    return (binary_call("add_n", node, graph, params, ()),)


OPERATOR = Operator(
    name="add_n",
    summary="sum of several values of one scale",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, fifteen, viewable),
    tflite=("ADD_N",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
)
