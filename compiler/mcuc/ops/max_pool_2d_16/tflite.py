"""MAX_POOL_2D of TFLite with int16 activations."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._pool import tflite_export
from mcuc.ops._wide_tflite import pool_from_tflite


def from_tflite(node: Imported) -> Built:
    """As the int8 pool."""
    return pool_from_tflite("max_pool_2d_16", node)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As the int8 pool."""
    return tflite_export("MAX_POOL_2D", node, graph)
