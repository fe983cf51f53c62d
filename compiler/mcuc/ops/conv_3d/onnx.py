"""Conv of ONNX over rank 5; the importer calls it Conv3D to tell it from the 2D one."""

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

KINDS = ("Conv3D",)


def from_onnx(node: Imported) -> Built:
    """x NDHWC, weights already [oc, kd, kh, kw, c / group]; options["depth"]: the window over the depth."""
    from mcuc.ops.conv_3d import Conv3DAttrs

    x = activation(node, 0)
    weights, w = node.input(1), node.constant(1)
    group = int(node.options["group"])
    fits = w.ndim == 5 and weights.quant is not None and w.dtype == np.int8 and group > 0
    if not fits or w.shape[4] * group != x.shape[4] or w.shape[0] % group:
        raise McucError(
            "broken-model",
            f"input {x.shape} does not fit weights {w.dtype}{w.shape} in {group} groups",
            where=node.where,
            try_this="check that the model file is complete and its weights are int8 or uint8",
        )
    oc = w.shape[0]
    assert weights.quant is not None
    if len(weights.quant.scale) not in (1, oc):
        raise McucError(
            "unsupported-quantization",
            f"{len(weights.quant.scale)} weight scales for {oc} output channels",
            where=node.where,
            try_this="quantize the weights per tensor or per output channel (axis 0)",
        )
    zero_point = zero_point_of(x, node.where)
    attrs = Conv3DAttrs(
        requant=requant(node, weights),
        output_zero_point=zero_point_of(node.outputs[0], node.where),
        clamp=clamp_of(node),
        input_zero_point=zero_point,
        pad_value=zero_point,
        weight_zero_point=weight_zero_points(weights),
        window=window_of(node),
        groups=group,
        depth=node.options["depth"],
    )
    bias = bias_tensor(node, 2, weights, oc)
    moved = weights_constant(f"{node.outputs[0].name}/weights", weights, w)
    constants = (moved,) if bias is None else (moved, bias)
    return Built("conv_3d", (x.name, *(t.name for t in constants)), attrs, constants)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Refused: the exporter writes images, not volumes."""
    raise not_exportable(node, "values of rank 5 are not written")
