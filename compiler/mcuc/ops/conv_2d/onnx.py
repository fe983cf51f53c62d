"""Conv of ONNX, depthwise included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor
from mcuc.ops._base import Built, Imported, zero_point_of
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._onnx import (
    OnnxNode,
    activation,
    bias_tensor,
    clamp_of,
    requant,
    weight_zero_points,
    weights_constant,
    window_of,
)

KINDS = ("Conv",)


def from_onnx(node: Imported) -> Built:
    """x NHWC, weights OIHW; becomes depthwise_conv_2d where each input channel has its own filters."""
    x = activation(node, 0)
    weights, w = node.input(1), node.constant(1)
    group = int(node.options["group"])
    channels = x.shape[3]
    if (
        w.ndim != 4
        or weights.quant is None
        or w.dtype != np.int8
        or group < 1
        or w.shape[1] * group != channels
        or w.shape[0] % group
    ):
        raise McucError(
            "broken-model",
            f"input {x.shape} does not fit weights {w.dtype}{w.shape} in {group} groups",
            where=node.where,
            try_this="check that the model file is complete and its weights are int8 or uint8",
        )
    oc = w.shape[0]
    if len(weights.quant.scale) not in (1, oc):
        raise McucError(
            "unsupported-quantization",
            f"{len(weights.quant.scale)} weight scales for {oc} output channels",
            where=node.where,
            try_this="quantize the weights per tensor or per output channel (axis 0)",
        )
    zero_point = zero_point_of(x, node.where)
    attrs = ConvAttrs(
        requant=requant(node, weights),
        output_zero_point=zero_point_of(node.outputs[0], node.where),
        clamp=clamp_of(node),
        input_zero_point=zero_point,
        pad_value=zero_point,
        weight_zero_point=weight_zero_points(weights),
        window=window_of(node),
        groups=group,
    )
    depthwise = group == channels and group > 1
    if depthwise:
        attrs = replace(attrs, groups=1)
        moved = weights_constant(
            f"{node.outputs[0].name}/weights", weights, w.reshape(oc, *w.shape[2:]).transpose(1, 2, 0)[None]
        )
        if len(weights.quant.scale) > 1:
            moved = replace(moved, quant=replace(weights.quant, axis=3))
    else:
        moved = weights_constant(f"{node.outputs[0].name}/weights", weights, w.transpose(0, 2, 3, 1))
    bias = bias_tensor(node, 2, weights, oc)
    constants = (moved,) if bias is None else (moved, bias)
    return Built(
        "depthwise_conv_2d" if depthwise else "conv_2d", (x.name, *(t.name for t in constants)), attrs, constants
    )


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
