"""What CONV_2D and DEPTHWISE_CONV_2D of TFLite share."""

from __future__ import annotations

from typing import Any

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor
from mcuc.ops._base import Imported, zero_point_of
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._spatial import tflite_window
from mcuc.ops._tflite import activation_range, conv_requant, fused_activation, padding_fields


def misfit(node: Imported, x: Tensor, weights: Tensor) -> McucError:
    """Input and weights do not belong together."""
    return McucError(
        "broken-model",
        f"input {x.shape} does not fit weights {weights.shape}",
        where=node.where,
        try_this="check that the model file is complete",
    )


def conv_attrs(node: Imported, x: Tensor, weights: Tensor, kernel: tuple[int, int], groups: int = 1) -> ConvAttrs:
    """Attributes of a convolution over x [1, h, w, c]. Raises McucError for missing quantization."""
    zero_point = zero_point_of(x, node.where)
    return ConvAttrs(
        requant=conv_requant(node, weights, float32_product=node.unsigned),
        output_zero_point=zero_point_of(node.outputs[0], node.where),
        clamp=activation_range(node.options.fusedActivationFunction, node.outputs[0], node.where),
        input_zero_point=zero_point,
        pad_value=zero_point,
        weight_zero_point=weights.quant.zero_point if weights.quant else (0,),
        window=tflite_window(node.options, (x.shape[1], x.shape[2]), kernel, node.where),
        groups=groups,
    )


def conv_fields(node: Node, graph: Graph) -> dict[str, Any]:
    """Option fields. Raises McucError where TFLite cannot express the padding or the clamp."""
    x, attrs = graph.tensors[node.inputs[0]], node.attrs
    return {
        **padding_fields(attrs.window, (x.shape[1], x.shape[2]), node.name),
        "dilationHFactor": attrs.window.dilation[0],
        "dilationWFactor": attrs.window.dilation[1],
        "fusedActivationFunction": fused_activation(attrs.clamp, graph.tensors[node.outputs[0]], node.name),
    }
