"""GlobalAveragePool, ReduceMean and ReduceSum of ONNX."""

from __future__ import annotations

from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Requant, Tensor
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import OnnxNode, activation, clamp_of
from mcuc.ops.mean.attrs import MeanAttrs, is_sum

KINDS = ("ReduceMean", "ReduceSum")


def from_onnx(node: Imported) -> Built:
    """options: axes (stored), keep_dims. MLAS's scale in float32: x scale / (y scale * count), count 1 for a sum."""
    x, out = activation(node, 0), node.outputs[0]
    axes = tuple(node.options["axes"])
    count = 1 if node.kind == "ReduceSum" else prod(x.shape[a] for a in axes)
    scale = np.float32(scale_of(x, node.where)) / (np.float32(scale_of(out, node.where)) * np.float32(count))
    if not np.isfinite(scale) or scale <= 0:
        raise McucError(
            "corrupt-model",
            "the scales of input and output do not fit into float32",
            where=node.where,
            try_this="quantize the model again",
        )
    attrs = MeanAttrs(
        axes,
        bool(node.options["keep_dims"]),
        Requant("f32_rne", scale=(float(scale),)),
        zero_point_of(x, node.where),
        zero_point_of(out, node.where),
        clamp_of(node),
    )
    return Built("mean", (x.name,), attrs)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As GlobalAveragePool where it is one, else as ReduceMean in the graph's own order."""
    attrs: MeanAttrs = node.attrs
    rank = len(graph.tensors[node.inputs[0]].shape)
    summed = is_sum(attrs, graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]])
    if not summed and rank == 4 and attrs.axes == (1, 2) and attrs.keep_dims:
        return OnnxNode("GlobalAveragePool", node.inputs, after=attrs.clamp)
    if not summed and rank == 4 and attrs.axes == (1, 2):  # the exporter flattens the result
        return OnnxNode("GlobalAveragePool", node.inputs, {"flatten": True}, after=attrs.clamp)
    axes = np.array(attrs.axes, np.int64)
    constant = Tensor(f"{node.outputs[0]}/axes", axes.shape, DType.INT64, None, axes)
    if summed:  # the axes are an input since opset 13
        return OnnxNode(
            "ReduceSum",
            (*node.inputs, constant.name),
            {"keepdims": int(attrs.keep_dims)},
            (constant,),
            channels_first=False,
            after=attrs.clamp,
        )
    return OnnxNode(
        "ReduceMean",
        node.inputs,
        {"axes": list(attrs.axes), "keepdims": int(attrs.keep_dims)},
        (constant,),
        channels_first=False,
        after=attrs.clamp,
    )
