"""The input's zero point goes into the bias: sum (x - z) * w + b = sum x * w + (b - z * sum w).

before: y = conv(x, w, b) {input_zero_point=z}
after:  y = conv(x, w, y/folded_bias) {input_zero_point=0}
pad_value keeps z: outside the input x reads as z, which the folded bias takes off again.
"""

from __future__ import annotations

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor, rebuild
from mcuc.ops._conv import fold_input_zero_point

_AXES = {"conv_2d": (1, 2, 3), "depthwise_conv_2d": (0, 1, 2), "fully_connected": (1,)}


def _weight_sums(op: str, w: Array) -> tuple[Array, int]:
    """Sum of the weights per output channel, and how many weights each has."""
    sums: Array = w.astype(np.int64).sum(axis=_AXES[op])
    return sums, w.size // max(1, sums.size)


def fold_zero_points(graph: Graph) -> Graph:
    """The graph with input zero points of 0 in every layer whose weights and bias are constants."""
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        if node.op in _AXES and node.attrs.input_zero_point != 0:
            w = graph.tensors[node.inputs[1]].data
            bias = graph.tensors[node.inputs[2]].data if len(node.inputs) > 2 and node.inputs[2] else w
            if w is not None and bias is not None:
                node, tensor = fold_input_zero_point(graph, node, *_weight_sums(node.op, w))
                tensors.append(tensor)
        nodes.append(node)
    return rebuild(graph, nodes, tensors)
