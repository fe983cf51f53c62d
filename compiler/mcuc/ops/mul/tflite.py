"""MUL of TFLite."""

from __future__ import annotations

from mcuc.ir import Graph, Node, Requant
from mcuc.numerics import quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import activation_range, checked_activation, fused_activation
from mcuc.ops.mul.attrs import MulAttrs


def from_tflite(node: Imported) -> Built:
    """Either operand may be constant. Raises McucError on float tensors."""
    a, b, out = checked_activation(node, 0), checked_activation(node, 1), node.outputs[0]
    m, s = quantize_multiplier(scale_of(a, node.where) * scale_of(b, node.where) / scale_of(out, node.where))
    attrs = MulAttrs(
        (zero_point_of(a, node.where), zero_point_of(b, node.where)),
        Requant("tflite_double", (m,), (s,)),
        zero_point_of(out, node.where),
        activation_range(node.options.fusedActivationFunction, out, node.where),
    )
    return Built("mul", (a.name, b.name), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As MUL."""
    fused = fused_activation(node.attrs.clamp, graph.tensors[node.outputs[0]], node.name)
    return Exported("MUL", "MulOptions", {"fusedActivationFunction": fused})
