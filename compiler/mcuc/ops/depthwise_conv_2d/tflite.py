"""DEPTHWISE_CONV_2D of TFLite."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._conv_tflite import conv_attrs, conv_fields, misfit
from mcuc.ops._tflite import bias_inputs, checked_activation, weight_tensor


def from_tflite(node: Imported) -> Built:
    """Weights [1, kh, kw, oc], quantized along axis 3. Raises McucError on float tensors or misfitting shapes."""
    x = checked_activation(node, 0)
    weights = weight_tensor(node, 1, 4)
    one, kh, kw, oc = weights.shape
    channels = x.shape[-1]
    if len(x.shape) != 4 or one != 1 or channels < 1 or oc % channels:
        raise misfit(node, x, weights)
    attrs = conv_attrs(node, x, weights, (kh, kw))
    return Built("depthwise_conv_2d", (x.name, weights.name, *bias_inputs(node, 2, oc)), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As DEPTHWISE_CONV_2D. Raises McucError where TFLite cannot express the padding or the clamp."""
    multiplier = graph.tensors[node.outputs[0]].shape[3] // graph.tensors[node.inputs[0]].shape[3]
    fields = {**conv_fields(node, graph), "depthMultiplier": multiplier}
    return Exported("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", fields)
