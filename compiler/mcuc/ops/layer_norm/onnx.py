"""LayerNormalization of ONNX; ONNX Runtime computes it in float32, at most a step away."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._norm import built, exported
from mcuc.ops._onnx import OnnxNode

KINDS = ("LayerNormalization",)


def from_onnx(node: Imported) -> Built:
    """options: axes (how many of the last), epsilon, gamma, beta. Raises McucError as mcuc.ops._norm.built."""
    return built("layer_norm", node, centred=True)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As LayerNormalization over the last axes of the graph's own order."""
    return exported(node, graph)
