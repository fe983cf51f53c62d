"""Add of ONNX for a network of profile tflite (import: qlinear_add)."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._onnx import OnnxNode


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Add or Sub; ONNX Runtime rounds differently in rare cases."""
    return OnnxNode("Sub" if node.attrs.subtract else "Add", node.inputs, after=node.attrs.clamp)
