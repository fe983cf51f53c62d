"""MatMul of ONNX where the right matrix is computed at run time, or has batches (a constant one is a dense layer)."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Requant
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._matmul import MatmulAttrs
from mcuc.ops._onnx import OnnxNode, activation, clamp_of, not_exportable

KINDS = ("MatMul",)


def from_onnx(node: Imported) -> Built:
    """x [..., m, k], y [..., k, n]; options["adj_x"], options["adj_y"]: their last axes are swapped;
    options["alpha"] scales the product."""
    x, y = activation(node, 0), activation(node, 1)
    out = node.outputs[0]
    factor = np.float32(node.options.get("alpha", 1.0)) * np.float32(scale_of(x, node.where))
    with np.errstate(over="ignore", under="ignore"):
        scale = (factor * np.float32(scale_of(y, node.where))) / np.float32(scale_of(out, node.where))
    if not np.isfinite(scale) or scale <= 0:
        raise McucError(
            "corrupt-model",
            "the scales of both operands and of the output do not fit into float32",
            where=node.where,
            try_this="quantize the model again",
        )
    attrs = MatmulAttrs(
        requant=Requant("f32_rne", scale=(float(scale),)),
        output_zero_point=zero_point_of(out, node.where),
        clamp=clamp_of(node),
        input_zero_point=zero_point_of(x, node.where),
        weight_zero_point=(zero_point_of(y, node.where),),
        adj_x=bool(node.options.get("adj_x", False)),
        adj_y=bool(node.options.get("adj_y", False)),
    )
    return Built("batch_matmul", (x.name, y.name), attrs)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As MatMul; swapped axes would need a transpose before it."""
    if node.attrs.adj_x or node.attrs.adj_y or any(graph.tensors[n].data is not None for n in node.inputs):
        raise not_exportable(node, "its operands are constant or have swapped axes")
    return OnnxNode("MatMul", node.inputs, {}, channels_first=False, after=node.attrs.clamp)
