"""The TFLite operator that computes the same average, rounded TFLite's way."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.ir import Graph, Node
from mcuc.ops._base import Exported
from mcuc.ops._tflite import nearest_activation, padding_fields


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As AVERAGE_POOL_2D. Raises McucError for dilation and for averages over padding."""
    attrs, x, out = node.attrs, graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    padded = attrs.window.pad != (0, 0, 0, 0)
    if attrs.window.dilation != (1, 1) or (padded and attrs.count_include_pad) or x.quant != out.quant:
        raise McucError(
            "not-exportable",
            "TFLite's AVERAGE_POOL_2D has no dilation, counts no padding and keeps its input's scale",
            where=node.name,
            try_this="write an .onnx file instead, which says it: mcuc export MODEL -o FILE.onnx",
        )
    return Exported(
        "AVERAGE_POOL_2D",
        "Pool2DOptions",
        {
            **padding_fields(attrs.window, (x.shape[1], x.shape[2]), node.name),
            "filterHeight": attrs.window.kernel[0],
            "filterWidth": attrs.window.kernel[1],
            "fusedActivationFunction": nearest_activation(attrs.clamp, out, node.name),
        },
    )
