"""Sigmoid of ONNX."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._onnx import OnnxNode, logistic, table_node
from mcuc.ops._unary import TableAttrs

KINDS = ("Sigmoid",)
from_onnx = table_node("logistic", lambda node: logistic, TableAttrs)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Sigmoid."""
    return OnnxNode("Sigmoid", node.inputs, channels_first=False)
