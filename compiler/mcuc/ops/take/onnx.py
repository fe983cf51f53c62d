"""Pad of ONNX in modes reflect, edge and wrap."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, not_exportable

KINDS = ("Take",)  # the importer's name for it: no operator of ONNX is called so


def from_onnx(node: Imported) -> Built:
    """options["indices"]: for each stored axis the positions, or None."""
    from mcuc.ops.take import TakeAttrs

    return Built("take", (node.input(0).name,), TakeAttrs(tuple(node.options["indices"])))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Raises McucError: several axes by index have no one form in ONNX."""
    raise not_exportable(node, "positions along several axes")
