"""Reshape of ONNX on the stored bytes."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode

KINDS = ("Reshape",)


def from_onnx(node: Imported) -> Built:
    """options["shape"]: complete, in stored order."""
    from mcuc.ops.reshape import ReshapeAttrs

    return Built("reshape", (node.input(0).name,), ReshapeAttrs(tuple(node.options["shape"])))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Reshape in the graph's own order (the exporter adds the shape)."""
    return OnnxNode("Reshape", node.inputs[:1], {"shape": list(node.attrs.shape)}, channels_first=False)
