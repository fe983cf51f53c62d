"""Transpose of ONNX, where import could not avoid it."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode

KINDS = ("Transpose",)


def from_onnx(node: Imported) -> Built:
    """options["perm"]: of the stored axes."""
    from mcuc.ops.transpose import TransposeAttrs

    return Built("transpose", (node.input(0).name,), TransposeAttrs(tuple(node.options["perm"])))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Transpose in the graph's own order."""
    return OnnxNode("Transpose", node.inputs, {"perm": list(node.attrs.perm)}, channels_first=False)
