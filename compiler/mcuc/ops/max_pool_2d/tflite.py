"""MAX_POOL_2D of TFLite."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._pool import tflite_attrs, tflite_export


def from_tflite(node: Imported) -> Built:
    """Raises McucError on float tensors."""
    return Built("max_pool_2d", (node.input(0).name,), tflite_attrs(node))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As MAX_POOL_2D; McucError as tflite_export."""
    return tflite_export("MAX_POOL_2D", node, graph)
