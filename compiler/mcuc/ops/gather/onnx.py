"""Gather of ONNX."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode

KINDS = ("Gather",)


def from_onnx(node: Imported) -> Built:
    """options["axis"]: of the stored axes. Negative indices count from the end."""
    from mcuc.ops.gather import GatherAttrs

    indices = node.input(1)
    attrs = GatherAttrs(int(node.options["axis"]), nearest=indices.data is None)
    return Built("gather", (node.input(0).name, indices.name), attrs)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Gather in the graph's own order."""
    return OnnxNode("Gather", node.inputs, {"axis": node.attrs.axis}, channels_first=False)
