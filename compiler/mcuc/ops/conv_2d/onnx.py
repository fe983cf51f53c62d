"""Conv of ONNX, depthwise included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcuc.ir import Graph, Node, Tensor
from mcuc.ops._base import Built, Imported
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._conv_onnx import convolution
from mcuc.ops._onnx import OnnxNode

KINDS = ("Conv",)


def from_onnx(node: Imported) -> Built:
    """x NHWC, weights OIHW; becomes depthwise_conv_2d where each input channel has its own filters."""
    read = convolution(node, rank=4, inputs=1)
    attrs, w = ConvAttrs(**read.attrs), read.array
    if attrs.groups == read.x.shape[3] and attrs.groups > 1:
        one = w.reshape(w.shape[0], *w.shape[2:]).transpose(1, 2, 0)[None]
        return read.built("depthwise_conv_2d", node, replace(attrs, groups=1), one, axis=3)
    return read.built("conv_2d", node, attrs, w.transpose(0, 2, 3, 1))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Conv with weights OIHW."""
    weights = graph.tensors[node.inputs[1]]
    moved = replace(weights, data=np.ascontiguousarray(graph.const(node.inputs[1]).transpose(0, 3, 1, 2)))
    return conv_node(node, graph, moved, node.attrs.groups)


def conv_node(node: Node, graph: Graph, weights: Tensor, groups: int) -> OnnxNode:
    """A Conv of that many groups; weights [oc, cg, kh, kw], their quantization axis becomes 0."""
    attrs: ConvAttrs = node.attrs
    assert weights.data is not None and weights.quant is not None
    window = attrs.window
    quant = replace(weights.quant, axis=0 if len(weights.quant.scale) > 1 else None)
    moved = replace(weights, shape=weights.data.shape, quant=quant)
    top, left, bottom, right = window.pad
    options = {
        "kernel_shape": list(window.kernel),
        "strides": list(window.stride),
        "dilations": list(window.dilation),
        "pads": [top, left, bottom, right],
        "group": groups,
    }
    return OnnxNode("Conv", (node.inputs[0], moved.name, *node.inputs[2:3]), options, (moved,), after=attrs.clamp)
