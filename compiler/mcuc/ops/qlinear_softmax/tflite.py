"""The TFLite operator that computes the same softmax, rounded TFLite's way."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Exported


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As SOFTMAX."""
    return Exported("SOFTMAX", "SoftmaxOptions", {"beta": 1.0})
