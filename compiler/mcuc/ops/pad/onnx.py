"""Pad of ONNX with a constant."""

from __future__ import annotations

import numpy as np

from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import OnnxNode

KINDS = ("Pad",)


def from_onnx(node: Imported) -> Built:
    """options: pads (before, after) per stored axis, value as stored int8."""
    from mcuc.ops.pad import PadAttrs

    return Built("pad", (node.input(0).name,), PadAttrs(tuple(node.options["pads"]), int(node.options["value"])))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Pad in the graph's own order; the fill as the real number of its integer."""
    out = graph.tensors[node.outputs[0]]
    pads = np.array([a for a, _ in node.attrs.pads] + [b for _, b in node.attrs.pads], np.int64)
    real = np.float32(node.attrs.value - zero_point_of(out, node.name)) * np.float32(scale_of(out, node.name))
    constants = (
        Tensor(f"{out.name}/pads", pads.shape, DType.INT64, None, pads),
        Tensor(f"{out.name}/fill", (), DType.FLOAT32, None, np.array(real, np.float32)),
    )
    return OnnxNode("Pad", (node.inputs[0], *(t.name for t in constants)), {}, constants, channels_first=False)
