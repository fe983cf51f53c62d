"""ConvTranspose of ONNX. ONNX Runtime has no integer kernel: it computes in float between DequantizeLinear and
QuantizeLinear, so that a sum near a tie may differ by a step."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported, zero_point_of
from mcuc.ops._onnx import (
    OnnxNode,
    activation,
    bias_tensor,
    clamp_of,
    not_exportable,
    requant,
    weight_zero_points,
    weights_constant,
    window_of,
)
from mcuc.ops.transpose_conv.attrs import TransposeConvAttrs

KINDS = ("ConvTranspose",)


def from_onnx(node: Imported) -> Built:
    """x NHWC, weights already OHWI with scales along axis 0; options["size"]: output height and width."""
    x = activation(node, 0)
    weights, w = node.input(1), node.constant(1)
    group = int(node.options["group"])
    if w.ndim != 4 or weights.quant is None or w.dtype != np.int8 or w.shape[3] * group != x.shape[3]:
        raise McucError(
            "broken-model",
            f"input {x.shape} does not fit weights {w.dtype}{w.shape} in {group} groups",
            where=node.where,
            try_this="check that the model file is complete and its weights are int8 or uint8",
        )
    oc = w.shape[0]
    zero_point = zero_point_of(x, node.where)
    attrs = TransposeConvAttrs(
        requant=requant(node, weights),
        output_zero_point=zero_point_of(node.outputs[0], node.where),
        clamp=clamp_of(node),
        input_zero_point=zero_point,
        pad_value=zero_point,
        weight_zero_point=weight_zero_points(weights),
        window=window_of(node),
        groups=group,
        size=node.options["size"],
    )
    moved = weights_constant(f"{node.outputs[0].name}/weights", weights, w)
    bias = bias_tensor(node, 2, weights, oc)
    constants = (moved,) if bias is None else (moved, bias)
    return Built("transpose_conv", (x.name, *(t.name for t in constants)), attrs, constants)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Refused: the runtime would compute it in float."""
    raise not_exportable(node, "ONNX Runtime has no integer kernel of it")
