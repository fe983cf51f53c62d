"""RELU, RELU6 and RELU_N1_TO_1 of TFLite."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor
from mcuc.numerics import multiply_by_quantized_multiplier, quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import activation_range, checked_activation, nearest_activation
from mcuc.ops._unary import TableAttrs, make_table

FUSED = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}


def _table(kind: str, x: Tensor, out: Tensor, unsigned: bool, where: str) -> bytes:
    """RELU and RELU_N1_TO_1 requantize; RELU6 of TFLite Micro clamps in the input's quantization and copies."""
    values = np.arange(-128, 128, dtype=np.int64)
    if kind == "RELU6" and not unsigned:
        return make_table(np.clip(values, *activation_range(FUSED[kind], x, where)))
    m, s = quantize_multiplier(scale_of(x, where) / scale_of(out, where))
    scaled = multiply_by_quantized_multiplier(values - zero_point_of(x, where), m, s) + zero_point_of(out, where)
    return make_table(np.clip(scaled, *activation_range(FUSED[kind], out, where)))


def from_tflite(node: Imported) -> Built:
    """Raises McucError on float tensors."""
    x = checked_activation(node, 0)
    return Built("clip", (x.name,), TableAttrs(_table(node.kind, x, node.outputs[0], node.unsigned, node.where)))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As the TFLite operator that computes the node's table. Raises McucError where none does."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    for kind in FUSED:
        if _table(kind, x, out, False, node.name) == node.attrs.table:
            return Exported(kind)
    raise McucError(
        "not-exportable",
        "TFLite has no operator for this clamp",
        where=node.name,
        try_this="use relu or relu6, or export to ONNX instead",
    )


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As the operator whose bounds are those of the node's table. Raises McucError where there is none."""
    out = graph.tensors[node.outputs[0]]
    values = np.frombuffer(node.attrs.table, np.int8)
    fused = nearest_activation((int(values.min()), int(values.max())), out, node.name)
    found = {number: kind for kind, number in FUSED.items()}
    return Exported(found[fused]) if fused else Exported("QUANTIZE", "QuantizeOptions")
