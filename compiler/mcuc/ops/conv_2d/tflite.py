"""CONV_2D of TFLite."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Exported, Imported
from mcuc.ops._conv_tflite import conv_attrs, conv_fields, misfit
from mcuc.ops._tflite import bias_inputs, checked_activation, weight_tensor


def from_tflite(node: Imported) -> Built:
    """Weights OHWI; groups follow from the channel counts (as in TFLite). Raises McucError on float tensors."""
    x = checked_activation(node, 0)
    weights = weight_tensor(node, 1, 4)
    oc, kh, kw, cg = weights.shape
    channels = x.shape[-1]
    if len(x.shape) != 4 or cg < 1 or channels % cg or oc % max(1, channels // cg):
        raise misfit(node, x, weights)
    attrs = conv_attrs(node, x, weights, (kh, kw), channels // cg)
    return Built("conv_2d", (x.name, weights.name, *bias_inputs(node, 2, oc)), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As CONV_2D. Raises McucError where TFLite cannot express the padding or the clamp."""
    return Exported("CONV_2D", "Conv2DOptions", conv_fields(node, graph))
