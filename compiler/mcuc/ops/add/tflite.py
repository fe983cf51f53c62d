"""ADD and SUB of TFLite."""

from __future__ import annotations

from mcuc.ir import Graph, Node, Requant
from mcuc.numerics import quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import activation_range, checked_activation, fused_activation
from mcuc.ops.add.attrs import LEFT_SHIFT, AddAttrs


def from_tflite(node: Imported) -> Built:
    """Either operand may be constant. Raises McucError on float tensors."""
    a, b, out = checked_activation(node, 0), checked_activation(node, 1), node.outputs[0]
    scales = scale_of(a, node.where), scale_of(b, node.where)
    twice_largest = 2 * max(scales)

    def requant(real: float) -> Requant:
        m, s = quantize_multiplier(real)
        return Requant("tflite_double", (m,), (s,))

    attrs = AddAttrs(
        (zero_point_of(a, node.where), zero_point_of(b, node.where)),
        (requant(scales[0] / twice_largest), requant(scales[1] / twice_largest)),
        requant(twice_largest / ((1 << LEFT_SHIFT) * scale_of(out, node.where))),
        zero_point_of(out, node.where),
        activation_range(node.options.fusedActivationFunction, out, node.where),
        node.kind == "SUB",
    )
    return Built("add", (a.name, b.name), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As ADD or SUB."""
    kind, options = ("SUB", "SubOptions") if node.attrs.subtract else ("ADD", "AddOptions")
    fused = fused_activation(node.attrs.clamp, graph.tensors[node.outputs[0]], node.name)
    return Exported(kind, options, {"fusedActivationFunction": fused})
