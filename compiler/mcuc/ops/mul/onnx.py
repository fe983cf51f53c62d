"""Mul of ONNX for a network of profile tflite (import: qlinear_mul)."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._onnx import OnnxNode


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Mul; ONNX Runtime rounds differently in rare cases."""
    return OnnxNode("Mul", node.inputs, after=node.attrs.clamp)
