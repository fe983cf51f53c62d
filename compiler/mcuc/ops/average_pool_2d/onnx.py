"""AveragePool of ONNX (import: qlinear_average_pool)."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._onnx import OnnxNode, not_exportable
from mcuc.ops.max_pool_2d.onnx import pool_options


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As AveragePool; ONNX Runtime rounds half to even, TFLite away from zero. Raises McucError where it is dilated."""
    if node.attrs.window.dilation != (1, 1):
        raise not_exportable(node, "opset 17, which the exporter writes, has no dilated AveragePool")
    options = {**pool_options(node), "count_include_pad": int(node.attrs.count_include_pad)}
    return OnnxNode("AveragePool", node.inputs, options, after=node.attrs.clamp)
