"""OneHot of ONNX by indices of run time, quantized behind it."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, not_exportable

KINDS = ("OneHot",)


def from_onnx(node: Imported) -> Built:
    """options: depth, on and off as stored int8. Negative indices count from the end."""
    from mcuc.ops.one_hot import OneHotAttrs

    o = node.options
    return Built("one_hot", (node.input(0).name,), OneHotAttrs(int(o["depth"]), int(o["on"]), int(o["off"]), True))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Raises McucError: the exporter's inputs are quantized values."""
    raise not_exportable(node, "indices are no quantized values")
