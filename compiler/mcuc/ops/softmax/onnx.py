"""Softmax of ONNX for a network of profile tflite (import: qlinear_softmax)."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._onnx import OnnxNode


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Softmax over the last axis; ONNX Runtime's exponentials are float32."""
    return OnnxNode("Softmax", node.inputs, {"axis": -1}, channels_first=False)
