"""LOGISTIC of TFLite."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor
from mcuc.numerics import logistic_table
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import CURVE_SCALES, checked_activation
from mcuc.ops._unary import TableAttrs

OUTPUT_SCALE = 1 / 256
OUTPUT_ZERO_POINT = -128


def _table(x: Tensor, out: Tensor, where: str) -> bytes:
    found = scale_of(out, where), zero_point_of(out, where)
    if found != (OUTPUT_SCALE, OUTPUT_ZERO_POINT):
        raise McucError(
            "unsupported-quantization",
            f"LOGISTIC writes scale {found[0]} and zero point {found[1]}; TFLite demands 1/256 and the lowest integer",
            where=where,
            try_this="convert the model again with the standard TFLite converter",
        )
    scale = scale_of(x, where)
    if not CURVE_SCALES[0] <= scale < CURVE_SCALES[1]:
        raise McucError(
            "unsupported-quantization",
            f"LOGISTIC reads scale {scale:g}: below 2^-27 and from 8 on the runtimes' answer for a zero is wrong",
            where=where,
            try_this="calibrate the model again",
        )
    return logistic_table(scale, zero_point_of(x, where))


def from_tflite(node: Imported) -> Built:
    """Raises McucError on float tensors or an output that is not quantized by 1/256."""
    x = checked_activation(node, 0)
    return Built("logistic", (x.name,), TableAttrs(_table(x, node.outputs[0], node.where)))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As LOGISTIC. Raises McucError where TFLite's table differs from the node's."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if _table(x, out, node.name) != node.attrs.table:
        raise McucError(
            "not-exportable",
            "the node's table is not that of TFLite's LOGISTIC",
            where=node.name,
            try_this="export to ONNX instead",
        )
    return Exported("LOGISTIC")


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As LOGISTIC."""
    return Exported("LOGISTIC")
