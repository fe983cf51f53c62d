"""SOFTMAX of TFLite."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.ir import Graph, Node
from mcuc.numerics import softmax_exp_table
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import checked_activation
from mcuc.ops.softmax.attrs import SoftmaxAttrs

OUTPUT = (1 / 256, -128)


def from_tflite(node: Imported) -> Built:
    """Any rank above 0. Raises McucError on float tensors or an output that is not quantized by 1/256."""
    x, out = checked_activation(node, 0), node.outputs[0]
    found = scale_of(out, node.where), zero_point_of(out, node.where)
    if found != OUTPUT or not x.shape:
        raise McucError(
            "unsupported-quantization",
            f"SOFTMAX writes scale {found[0]} and zero point {found[1]}; TFLite demands 1/256 and the lowest integer",
            where=node.where,
            try_this="convert the model again with the standard TFLite converter",
        )
    beta = float(node.options.beta)
    return Built("softmax", (x.name,), SoftmaxAttrs(softmax_exp_table(scale_of(x, node.where), beta), beta))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As SOFTMAX. Raises McucError where TFLite would compute something else."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    attrs: SoftmaxAttrs = node.attrs
    same = softmax_exp_table(scale_of(x, node.name), attrs.beta) == attrs.table
    if not same or (scale_of(out, node.name), zero_point_of(out, node.name)) != OUTPUT:
        raise McucError(
            "not-exportable",
            "the node's table is not that of TFLite's SOFTMAX",
            where=node.name,
            try_this="export to ONNX instead",
        )
    return Exported("SOFTMAX", "SoftmaxOptions", {"beta": attrs.beta})
