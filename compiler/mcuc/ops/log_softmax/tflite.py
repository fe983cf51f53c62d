"""LOG_SOFTMAX of TFLite."""

from __future__ import annotations

import math

import numpy as np

from mcuc.errors import McucError
from mcuc.fixed_point import LogSoftmax
from mcuc.ir import Graph, Node, Tensor
from mcuc.numerics import MOST_FACTOR, multiply_by_quantized_multiplier, quantize_multiplier, softmax_exp_table
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import checked_activation

OUTPUT = (16 / 256, 127)
_FAR = -20 << 26  # in Q5: 320 steps down, where every result is the lowest


def _attrs(x: Tensor, out: Tensor, where: str) -> LogSoftmax:
    found = scale_of(out, where), zero_point_of(out, where)
    if found != OUTPUT:
        raise McucError(
            "unsupported-quantization",
            f"LOG_SOFTMAX writes scale {found[0]} and zero point {found[1]}; TFLite demands 1/16 and the highest",
            where=where,
            try_this="convert the model again with the standard TFLite converter",
        )
    scale = scale_of(x, where)
    multiplier, shift = quantize_multiplier(min(scale * (1 << 26), MOST_FACTOR))
    furthest = math.floor(31 * 2.0**26 / 2.0**shift)  # CalculateInputRadius, which sees the shift alone
    steps = np.arange(256, dtype=np.int64)
    scaled = multiply_by_quantized_multiplier(-np.minimum(steps, furthest), multiplier, shift)
    diffs = np.where(steps > furthest, _FAR, np.maximum(scaled, _FAR))
    return LogSoftmax(softmax_exp_table(scale, 1.0), tuple(int(d) for d in diffs), 1 << 26, 22, 127)


def from_tflite(node: Imported) -> Built:
    """Any rank above 0. Raises McucError on float tensors and for another output quantization."""
    x = checked_activation(node, 0)
    if not x.shape:
        raise McucError(
            "unsupported-operator",
            f"{node.kind} of a scalar is not supported",
            where=node.where,
            try_this="give the tensor an axis of classes",
        )
    return Built("log_softmax", (x.name,), _attrs(x, node.outputs[0], node.where))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As LOG_SOFTMAX. Raises McucError where TFLite would compute something else."""
    if _attrs(graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]], node.name) != node.attrs:
        raise McucError(
            "not-exportable",
            "the node's tables are not those of TFLite's LOG_SOFTMAX",
            where=node.name,
            try_this="export to ONNX instead",
        )
    return Exported("LOG_SOFTMAX", "LogSoftmaxOptions")


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As LOG_SOFTMAX, with TFLite's exponentials. Raises McucError for another output quantization."""
    _attrs(graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]], node.name)
    return Exported("LOG_SOFTMAX", "LogSoftmaxOptions")
