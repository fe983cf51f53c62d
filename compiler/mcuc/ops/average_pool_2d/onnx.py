"""AveragePool of ONNX for a network of profile tflite (import: qlinear_average_pool)."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._onnx import OnnxNode
from mcuc.ops.max_pool_2d.onnx import pool_options


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As AveragePool; ONNX Runtime rounds half to even, not away from zero."""
    options = {**pool_options(node), "count_include_pad": int(node.attrs.count_include_pad)}
    return OnnxNode("AveragePool", node.inputs, options, after=node.attrs.clamp)
