"""Mul of ONNX as ONNX Runtime's QLinearMul computes it: a float32 product, then a float32 sum (MLAS)."""

from __future__ import annotations

import numpy as np

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import OnnxNode, activation, clamp_of
from mcuc.ops._qlinear import check_fraction, fixed_point, fraction_bits, offset, types_of, zero_in_file
from mcuc.ops.qlinear_mul.attrs import QLinearMulAttrs

KINDS = ("Mul",)


def from_onnx(node: Imported) -> Built:
    """float32(product) * (a scale * b scale / y scale) + y zero point, rounded half to even."""
    a, b, out = activation(node, 0), activation(node, 1), node.outputs[0]
    f32 = np.float32
    ratio = float(f32(f32(scale_of(a, node.where)) * f32(scale_of(b, node.where))) / f32(scale_of(out, node.where)))
    shift = offset(types_of(node)[1])
    bits = fraction_bits(ratio)
    check_fraction(bits, 1.0, node)
    attrs = QLinearMulAttrs(
        (zero_point_of(a, node.where), zero_point_of(b, node.where)),
        fixed_point(ratio, bits),
        zero_in_file(out, shift) << bits,
        bits,
        shift,
        clamp_of(node),
    )
    return Built("qlinear_mul", (a.name, b.name), attrs)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Mul."""
    return OnnxNode("Mul", node.inputs, after=node.attrs.clamp)
