"""Running sums along an axis, requantized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Requant, Tensor
from mcuc.kernels._base import Call, Rows
from mcuc.numerics import quantize_multiplier, requantize
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, int8_runtime, no_cost, scale_of, zero_point_of
from mcuc.ops._tflite import checked_activation

LEFT_SHIFT = 20  # headroom that TFLite gives the values; half of it goes when they are rescaled by 1 / 2
MOST = (1 << (31 - LEFT_SHIFT + 1)) // 255 - 1  # values along the axis until 32 bits may overflow


@dataclass(frozen=True)
class CumsumAttrs:
    """out = saturated(requant(2^19 * running sum) + output_zero_point); a sum begins at -zero_point, TFLite's stored 0.

    axis: not negative. exclusive: without the element itself. reverse: from the end.
    """

    axis: int
    exclusive: bool
    reverse: bool
    zero_point: int
    requant: Requant
    output_zero_point: int


def from_tflite(node: Imported) -> Built:
    """CUMSUM along a constant axis."""
    x, out = checked_activation(node, 0), node.outputs[0]
    axis, rank = int(np.asarray(node.constant(1)).reshape(-1)[0]), len(x.shape)
    if not -rank <= axis < rank or node.unsigned:
        raise McucError("unsupported-operator", f"CUMSUM along axis {axis} of {rank} dimensions, or of uint8",
                        where=node.where, try_this="check the axis; convert with int8 activations")
    m, s = quantize_multiplier(2 * scale_of(x, node.where) / ((1 << LEFT_SHIFT) * scale_of(out, node.where)))
    attrs = CumsumAttrs(axis % rank, bool(node.options.exclusive), bool(node.options.reverse),
                        zero_point_of(x, node.where), Requant("tflite_double", (m,), (s,)),
                        zero_point_of(out, node.where))
    return Built("cumsum", (x.name,), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As CUMSUM with the axis as a constant."""
    attrs: CumsumAttrs = node.attrs
    axis = Tensor(f"{node.outputs[0]}/axis", (), DType.INT32, None, np.array(attrs.axis, np.int32))
    fields = {"exclusive": attrs.exclusive, "reverse": attrs.reverse}
    return Exported("CUMSUM", "CumsumOptions", fields, (node.inputs[0], axis.name), (axis,))


def infer(attrs: CumsumAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: CumsumAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 of any shape."""
    x = arrays[0]
    assert x is not None
    steps = x.astype(np.int64) - attrs.zero_point
    steps = np.flip(steps, attrs.axis) if attrs.reverse else steps
    total: Array = steps.cumsum(axis=attrs.axis) - (steps if attrs.exclusive else 0) - attrs.zero_point
    total = np.flip(total, attrs.axis) if attrs.reverse else total
    out = requantize((total << (LEFT_SHIFT - 1)).reshape(-1, 1), attrs.requant, attrs.output_zero_point, -128, 127)
    return (out.reshape(x.shape),)


def short_enough(node: Node, graph: Graph) -> str | None:
    """At most 15 values along the axis (more may overflow TFLite's 32-bit sums)."""
    size = graph.tensors[node.inputs[0]].shape[node.attrs.axis]
    return f"{size} values" if size > MOST else None


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the sum family: what comes before the axis are rows, along it columns, behind it channels."""
    attrs: CumsumAttrs = node.attrs
    shape = graph.tensors[node.inputs[0]].shape
    h, w, c = prod(shape[: attrs.axis]), shape[attrs.axis], prod(shape[attrs.axis + 1 :])
    params = {
        "kind": "running",
        "columns": w,
        "in_c": c,
        "exclusive": attrs.exclusive,
        "reverse": attrs.reverse,
        "zero_point": attrs.zero_point,
        "mo": attrs.requant.multiplier[0],
        "so": attrs.requant.shift[0],
        "out_zp": attrs.output_zero_point,
    }
    return (Call("sum", params, (), (Rows(0, w * c, h),), h, w, c, w * c, c),)


OPERATOR = Operator(
    name="cumsum",
    summary="running sums along an axis",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int8_runtime, short_enough),
    tflite=("CUMSUM",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
