"""Requantization from or to int16: what stands between int8 and int16 parts of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array, DType, Graph, Node, Requant, Tensor
from mcuc.kernels._base import Call
from mcuc.numerics import multiply_by_quantized_multiplier
from mcuc.ops._base import Built, Exported, Imported, Operator, Shape, no_cost, zero_point_of
from mcuc.ops._wide import one_requant, scale_ratio, unary16_call
from mcuc.ops.quantize import QuantizeAttrs

_TYPES = (DType.INT8, DType.INT16)


@dataclass(frozen=True)
class Quantize16Attrs:
    """out = clamp(requant(x - input_zero_point) + output_zero_point), in the output's type."""

    requant: Requant
    input_zero_point: int
    output_zero_point: int
    dtype: DType


def from_tflite(node: Imported) -> Built:
    """QUANTIZE between int8 and int16; of a float input the boundary node that the pass normalize_boundary removes."""
    x, out = node.input(0), node.outputs[0]
    if x.dtype.value == "float32" or x.quant is None:
        return Built("quantize", (x.name,), QuantizeAttrs(b""))
    attrs = Quantize16Attrs(
        one_requant(scale_ratio(node)), zero_point_of(x, node.where), zero_point_of(out, node.where), out.dtype
    )
    return Built("quantize_16", (x.name,), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As QUANTIZE."""
    return Exported("QUANTIZE", "QuantizeOptions")


def infer(attrs: Quantize16Attrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The input's shape."""
    return (inputs[0].shape,)


def reference(attrs: Quantize16Attrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 or int16 of any shape."""
    x = arrays[0]
    assert x is not None
    r = attrs.requant
    scaled = multiply_by_quantized_multiplier(x.astype(np.int64) - attrs.input_zero_point, r.multiplier[0], r.shift[0])
    return (np.clip(scaled + attrs.output_zero_point, *attrs.dtype.limits).astype(attrs.dtype.value),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the unary16 family."""
    attrs: Quantize16Attrs = node.attrs
    low, high = attrs.dtype.limits
    params = {
        "kind": "quantize",
        "multiplier": attrs.requant.multiplier[0],
        "shift": attrs.requant.shift[0],
        "in_zp": attrs.input_zero_point,
        "out_zp": attrs.output_zero_point,
        "act_min": low,
        "act_max": high,
    }
    return (unary16_call(params, (), graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]),)


def integers(node: Node, graph: Graph) -> str | None:
    """From and to int8 and int16."""
    for name in (*node.inputs, *node.outputs):
        if graph.tensors[name].dtype not in _TYPES:
            return f"tensor {name!r} is {graph.tensors[name].dtype.value}"
    return None


OPERATOR = Operator(
    name="quantize_16",
    summary="requantize from or to int16",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(integers,),
    tflite=("QUANTIZE",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    wide=True,
)
