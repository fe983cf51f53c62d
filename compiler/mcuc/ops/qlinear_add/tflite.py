"""The TFLite operator that computes the same sum, rounded TFLite's way."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Exported
from mcuc.ops._tflite import nearest_activation


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As ADD."""
    fused = nearest_activation(node.attrs.clamp, graph.tensors[node.outputs[0]], node.name)
    return Exported("ADD", "AddOptions", {"fusedActivationFunction": fused})
