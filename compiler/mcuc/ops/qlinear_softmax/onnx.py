"""Softmax of ONNX as ONNX Runtime's QLinearSoftmax computes it: float32 exponentials from a table."""

from __future__ import annotations

import math

import numpy as np

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import OnnxNode, activation
from mcuc.ops.qlinear_softmax.attrs import QLinearSoftmaxAttrs

KINDS = ("Softmax",)
_LARGEST = float(np.finfo(np.float32).max)


def from_onnx(node: Imported) -> Built:
    """The last axis. The table is raised so far that sums use float32's range, as the runtime does."""
    x, out = activation(node, 0), node.outputs[0]
    scale = scale_of(x, node.where)
    lift = max(0.0, float(np.log(np.float32(_LARGEST) / np.float32(x.shape[-1]))) - 5) / scale
    table = tuple(float(np.float32(_exp((i - 255 + lift) * scale))) for i in range(256))
    factor = float(np.floor(np.float32(1.0) / np.float32(scale_of(out, node.where))))
    return Built("qlinear_softmax", (x.name,), QLinearSoftmaxAttrs(table, factor, zero_point_of(out, node.where)))


def _exp(value: float) -> float:
    return math.exp(value) if value > -700 else 0.0


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Softmax over the last axis of the graph's own order."""
    return OnnxNode("Softmax", node.inputs, {"axis": -1}, channels_first=False)
