"""A 2D convolution and the addition of another tensor to its result, as one node.

Only the pass fuse_add makes it. The result is that of both nodes, byte for byte; what lies between them is never
stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows
from mcuc.kernels.binary._weighted import Sum, weighted
from mcuc.ops import add, conv_2d
from mcuc.ops._base import Operator, Shape, int8_runtime
from mcuc.ops.add.attrs import LEFT_SHIFT, AddAttrs
from mcuc.ops.conv_2d_add.attrs import ConvAddAttrs

RESIDUAL = 3  # index among the inputs: x, weights, bias, residual


def infer(attrs: ConvAddAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """As conv_2d."""
    return conv_2d.infer(attrs.conv, inputs)


def reference(attrs: ConvAddAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: conv_2d's, then add's with residual int8 [1, oh, ow, oc]."""
    (result,) = conv_2d.reference(attrs.conv, arrays[:RESIDUAL])
    residual = arrays[RESIDUAL]
    assert residual is not None
    return add.reference(attrs.add, (result, residual) if attrs.first else (residual, result))


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """The convolution's call, with the residual's pixels as one more set of rows."""
    attrs: ConvAddAttrs = node.attrs
    (call,) = conv_2d.lower(replace(node, inputs=node.inputs[:RESIDUAL], attrs=attrs.conv), graph)
    found = joined_sum(attrs.add)
    assert found is not None
    first, second, offset, shift, _ = found
    if not attrs.first:
        first, second = second, first
    params = {"first": first, "second": second, "offset": offset, "shift": shift, "channels": call.channels}
    rows = Rows(1, call.out_row_bytes, call.height, columns=Columns(call.channels))
    return (replace(call, params={**call.params, "residual": params}, rows=(*call.rows, rows)),)


def joined_sum(attrs: AddAttrs) -> Sum | None:
    """The addition as a weighted sum of 32 bits that saturates at a byte (SSAT); None where no such sum is exact."""
    if attrs.clamp != (-128, 127):
        return None
    rules = [value for rule in attrs.requants for value in (rule.multiplier[0], rule.shift[0])]
    found = weighted(
        *attrs.zero_points,
        LEFT_SHIFT,
        attrs.subtract,
        *rules,
        attrs.requant.multiplier[0],
        attrs.requant.shift[0],
        attrs.output_zero_point,
        *attrs.clamp,
    )
    return None if found is None or found[4] else found


OPERATOR = Operator(
    name="conv_2d_add",
    summary="2D convolution and an addition to its result, of a CONV_2D and an ADD",
    infer=infer,
    reference=reference,
    cost=conv_2d.cost,
    lower=lower,
    limits=(int8_runtime, conv_2d.constant_weights),
    in_place=True,
    over=RESIDUAL,
)
