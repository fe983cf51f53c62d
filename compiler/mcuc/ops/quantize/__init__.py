"""Quantize and requantize: int8 to int8 by a table of 256 entries, uint8 to int8 and back by a shift.

Float inputs occur only at the boundary of a model; the pass normalize_boundary removes those nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.numerics import multiply_by_quantized_multiplier, quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost, scale_of, zero_point_of
from mcuc.ops._unary import table_call, table_lookup
from mcuc.ops.quantize.onnx import KINDS, from_onnx, to_onnx

FLIP = bytes((v ^ 0x80) for v in range(256))  # index: the input byte; uint8 <-> int8


@dataclass(frozen=True)
class Arithmetic:
    """ "Add", "Sub", "Mul", "Div" or "Pow" with one number, which stands first where constant_first says so."""

    operation: str
    value: float
    constant_first: bool


@dataclass(frozen=True)
class QuantizeAttrs:
    """table: the output byte for each input byte (as unsigned index); b"" for a float boundary node.

    origin: what the table was made of where that is more than a requantization; exporters write it. The table counts.
    """

    table: bytes
    origin: Arithmetic | None = field(default=None, repr=False, compare=False)


def shift_uint8() -> QuantizeAttrs:
    """uint8 q -> int8 q - 128, and the same table back."""
    return QuantizeAttrs(FLIP)


def from_tflite(node: Imported) -> Built:
    """QUANTIZE: float (boundary) or int8 with TFLite's requantization."""
    x, out = node.input(0), node.outputs[0]
    if x.dtype.value == "float32" or x.quant is None:
        return Built("quantize", (x.name,), QuantizeAttrs(b""))
    m, s = quantize_multiplier(scale_of(x, node.where) / scale_of(out, node.where))
    values = np.arange(-128, 128) - zero_point_of(x, node.where)
    scaled = multiply_by_quantized_multiplier(values, m, s) + zero_point_of(out, node.where)
    table = np.roll(np.clip(scaled, -128, 127), -128).astype(np.int8).tobytes()  # index 0 is byte 0
    return Built("quantize", (x.name,), QuantizeAttrs(table))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As QUANTIZE (a uint8/int8 shift is QUANTIZE between equal scales)."""
    return Exported("QUANTIZE", "QuantizeOptions")


def infer(attrs: QuantizeAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: QuantizeAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Table lookup; uint8 in gives int8 out and the other way round for the shift."""
    x = arrays[0]
    assert x is not None
    out = table_lookup(attrs.table, x)
    return (out.view(np.uint8) if attrs.table == FLIP and x.dtype == np.int8 else out,)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the unary family."""
    return (table_call(node.attrs.table, graph.tensors[node.outputs[0]].shape),)


def boundary_only(node: Node, graph: Graph) -> str | None:
    """Float tensors occur only as the model's inputs."""
    return "a float input inside the network" if not node.attrs.table else None


OPERATOR = Operator(
    name="quantize",
    summary="requantize, uint8/int8 shift",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(boundary_only,),
    tflite=("QUANTIZE",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
