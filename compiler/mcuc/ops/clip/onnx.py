"""Relu and Clip of ONNX between other quantizations than a fused one."""

from __future__ import annotations

import numpy as np

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, activation, float_table
from mcuc.ops._unary import TableAttrs, make_table

KINDS = ("Clip",)


def from_onnx(node: Imported) -> Built:
    """options: low and high, real numbers or None."""
    x = activation(node, 0)
    low, high = node.options["low"], node.options["high"]

    def clip(real: np.typing.NDArray[np.float32]) -> np.typing.NDArray[np.float32]:
        bounded = real if low is None else np.maximum(real, np.float32(low))
        return bounded if high is None else np.minimum(bounded, np.float32(high))

    return Built("clip", (x.name,), TableAttrs(float_table(node, x, clip)))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As a requantization with the smallest and largest entry of the table as bounds."""
    values = np.roll(np.frombuffer(node.attrs.table, np.int8), 128)
    assert make_table(values.astype(np.int64)) == node.attrs.table
    return OnnxNode("Identity", node.inputs, channels_first=False, after=(int(values.min()), int(values.max())))
