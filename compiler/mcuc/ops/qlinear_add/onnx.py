"""Add of ONNX as ONNX Runtime's QLinearAdd computes it: nested float32 multiply-adds (MLAS, AVX2)."""

from __future__ import annotations

import numpy as np

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported, scale_of
from mcuc.ops._onnx import OnnxNode, activation, clamp_of
from mcuc.ops._qlinear import check_fraction, fixed_point, fraction_bits, offset, ratio, types_of, zero_in_file
from mcuc.ops.qlinear_add.attrs import QLinearAddAttrs

KINDS = ("Add",)


def from_onnx(node: Imported) -> Built:
    """fma(a, a_ratio, fma(b, b_ratio, fixed)), fixed = y_zero - fma(a_ratio, a_zero, b_ratio * b_zero), in float32.

    options["scalar_first"]: operand 0 is broadcast along the innermost axes; then the two change places.
    """
    a, b, out = activation(node, 0), activation(node, 1), node.outputs[0]
    scales = [ratio(scale_of(t, node.where), scale_of(out, node.where)) for t in (a, b)]
    input_type, output_type = types_of(node)
    shift = offset(input_type)
    za, zb, zy = zero_in_file(a, shift), zero_in_file(b, shift), zero_in_file(out, offset(output_type))
    bits = max(fraction_bits(s) for s in scales)
    check_fraction(bits, 256 * max(scales), node)
    inner = np.float32(scales[1]) * np.float32(zb)
    exact = fixed_point(scales[0], bits) * za + fixed_point(float(inner), bits)
    rounded = np.float32(np.ldexp(float(_round24(exact)), -bits))
    fixed = float(np.float32(zy) - rounded)
    attrs = QLinearAddAttrs(
        (fixed_point(scales[0], bits), fixed_point(scales[1], bits)),
        (shift, shift),
        fixed_point(fixed, bits),
        bits,
        1 if node.options.get("scalar_first") else 0,
        offset(output_type),
        clamp_of(node),
    )
    return Built("qlinear_add", (a.name, b.name), attrs)


def _round24(value: int) -> int:
    from mcuc.numerics import round24

    return int(round24(np.array(value, np.int64)))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Add."""
    return OnnxNode("Add", node.inputs, after=node.attrs.clamp)
