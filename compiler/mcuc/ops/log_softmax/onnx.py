"""LogSoftmax of ONNX; ONNX Runtime computes it in float32, at most a step away."""

from __future__ import annotations

import math

import numpy as np

from mcuc.errors import McucError
from mcuc.fixed_point import LogSoftmax
from mcuc.ir import Graph, Node
from mcuc.numerics import INT32_MAX
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import OnnxNode, activation

KINDS = ("LogSoftmax",)
_STEPS = 1 << 10  # further down than any result


def from_onnx(node: Imported) -> Built:
    """The last axis. Raises McucError where a step of the output is not between 2^-13 and 2^13."""
    x, out = activation(node, 0), node.outputs[0]
    scale, step = scale_of(x, node.where), scale_of(out, node.where)
    if not 2.0**-13 <= step <= 2.0**13:
        raise McucError(
            "unsupported-quantization",
            f"{node.kind} writes steps of {step:g}",
            where=node.where,
            try_this="quantize the output with steps between 2^-13 and 2^13",
        )
    # a sum of 4095 has the logarithm 8.4; that and the table's ends must fit into int32 together
    shift = min(20, 30 - math.ceil(math.log2(_STEPS + 9 / step)))
    d = np.arange(256)
    exps = np.minimum(np.rint(np.exp(-np.minimum(d * scale, 40.0)) * 2.0**31), INT32_MAX)
    diffs = np.rint(np.maximum(-d * (scale / step), -float(_STEPS)) * 2.0**shift)
    factor = round(2.0**shift / step)
    return Built(
        "log_softmax",
        (x.name,),
        LogSoftmax(
            tuple(int(v) for v in exps),
            tuple(int(v) for v in diffs),
            factor,
            shift,
            zero_point_of(out, node.where),
        ),
    )


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As LogSoftmax over the last axis of the graph's own order."""
    return OnnxNode("LogSoftmax", node.inputs, {"axis": -1}, channels_first=False)
