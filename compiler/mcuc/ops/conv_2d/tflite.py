"""CONV_2D of TFLite."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Exported, Imported, zero_point_of
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._spatial import tflite_window
from mcuc.ops._tflite import (
    activation_range,
    bias_inputs,
    checked_activation,
    conv_requant,
    fused_activation,
    padding_fields,
    weight_tensor,
)


def from_tflite(node: Imported) -> Built:
    """Weights OHWI; groups follow from the channel counts (as in TFLite). Raises McucError on float tensors."""
    x = checked_activation(node, 0)
    weights = weight_tensor(node, 1, 4)
    oc, kh, kw, cg = weights.shape
    channels = x.shape[-1]
    if len(x.shape) != 4 or cg < 1 or channels % cg or oc % max(1, channels // cg):
        raise McucError(
            "broken-model",
            f"input {x.shape} does not fit weights {weights.shape}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    zero_point = zero_point_of(x, node.where)
    attrs = ConvAttrs(
        requant=conv_requant(node, weights, float32_product=node.unsigned),
        output_zero_point=zero_point_of(node.outputs[0], node.where),
        clamp=activation_range(node.options.fusedActivationFunction, node.outputs[0], node.where),
        input_zero_point=zero_point,
        pad_value=zero_point,
        weight_zero_point=weights.quant.zero_point if weights.quant else (0,),
        window=tflite_window(node.options, (x.shape[1], x.shape[2]), (kh, kw), node.where),
        groups=channels // cg,
    )
    return Built("conv_2d", (x.name, weights.name, *bias_inputs(node, 2, oc)), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As CONV_2D. Raises McucError where TFLite cannot express the padding or the clamp."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    attrs: ConvAttrs = node.attrs
    return Exported(
        "CONV_2D",
        "Conv2DOptions",
        {
            **padding_fields(attrs.window, (x.shape[1], x.shape[2]), node.name),
            "dilationHFactor": attrs.window.dilation[0],
            "dilationWFactor": attrs.window.dilation[1],
            "fusedActivationFunction": fused_activation(attrs.clamp, out, node.name),
        },
    )
