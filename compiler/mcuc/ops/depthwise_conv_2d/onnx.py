"""Depthwise convolution as ONNX's grouped Conv (import: conv_2d/onnx.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcuc.ir import Graph, Node
from mcuc.ops._onnx import OnnxNode
from mcuc.ops.conv_2d.onnx import conv_node


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Weights [1, kh, kw, oc] -> [oc, 1, kh, kw], one group per input channel."""
    weights = graph.tensors[node.inputs[1]]
    data = np.ascontiguousarray(graph.const(node.inputs[1])[0].transpose(2, 0, 1)[:, None])
    return conv_node(node, graph, replace(weights, data=data), graph.tensors[node.inputs[0]].shape[3])
