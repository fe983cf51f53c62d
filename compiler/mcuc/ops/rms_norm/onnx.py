"""RMSNormalization of ONNX; ONNX Runtime computes it in float32, at most a step away."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._norm import built
from mcuc.ops._onnx import OnnxNode, not_exportable

KINDS = ("RMSNormalization",)


def from_onnx(node: Imported) -> Built:
    """options: axes (how many of the last), epsilon, gamma, beta. Raises McucError as mcuc.ops._norm.built."""
    return built("rms_norm", node, centred=False)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Raises McucError: the exporter writes opset 17."""
    raise not_exportable(node, "RMSNormalization came with opset 23, the exporter writes 17")
