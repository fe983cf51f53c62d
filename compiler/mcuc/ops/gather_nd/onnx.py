"""GatherND of ONNX, without batch axes."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode

KINDS = ("GatherND",)


def from_onnx(node: Imported) -> Built:
    """The data in the file's order; negative indices count from the end."""
    from mcuc.ops.gather_nd import checked

    x, indices = node.input(0), node.input(1)
    return Built("gather_nd", (x.name, indices.name), checked(node, x, indices, True))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As GatherND in the graph's own order."""
    return OnnxNode("GatherND", node.inputs, channels_first=False)
