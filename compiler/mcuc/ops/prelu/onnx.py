"""PRelu of ONNX: float32 between DequantizeLinear and QuantizeLinear, the slopes quantized as well."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Requant
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import OnnxNode, activation, clamp_of
from mcuc.ops.prelu.attrs import PReluAttrs

KINDS = ("PRelu",)


def from_onnx(node: Imported) -> Built:
    """The f32_rne rule on both sides. The runtime rounds once more in between, which tells where a value lies within a
    few units of float32's last place of a tie."""
    x, alpha, out = activation(node, 0), activation(node, 1), node.outputs[0]
    with np.errstate(all="ignore"):
        above = np.float32(scale_of(x, node.where)) / np.float32(scale_of(out, node.where))
        below = above * np.float32(scale_of(alpha, node.where))
    if not (np.isfinite(above) and np.isfinite(below) and above > 0 and below > 0):
        raise McucError(
            "corrupt-model",
            "the scales of input, slopes and output do not fit into float32",
            where=node.where,
            try_this="quantize the model again",
        )
    attrs = PReluAttrs(
        (zero_point_of(x, node.where), zero_point_of(alpha, node.where)),
        Requant("f32_rne", scale=(float(above),)),
        Requant("f32_rne", scale=(float(below),)),
        zero_point_of(out, node.where),
        clamp_of(node),
    )
    return Built("prelu", (x.name, alpha.name), attrs)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As PRelu."""
    return OnnxNode("PRelu", node.inputs, channels_first=False, after=node.attrs.clamp)
