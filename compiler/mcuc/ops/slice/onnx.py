"""Slice, Split and Gather (of one index) of ONNX."""

from __future__ import annotations

import numpy as np

from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, not_exportable

KINDS = ("Slice",)


def from_onnx(node: Imported) -> Built:
    """options: begin, size, step per stored axis."""
    from mcuc.ops.slice import SliceAttrs

    o = node.options
    return Built("slice", (node.input(0).name,), SliceAttrs(tuple(o["begin"]), tuple(o["size"]), tuple(o["step"])))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Slice (and Squeeze, by the exporter) in the graph's own order."""
    attrs = node.attrs
    if attrs.added:
        raise not_exportable(node, "a slice with new axes")
    ends = [b + n * s for b, n, s in zip(attrs.begin, attrs.size, attrs.step, strict=True)]
    ends = [e if e >= 0 else -(2**31) for e in ends]
    constants = []
    for label, values in (
        ("starts", attrs.begin),
        ("ends", ends),
        ("axes", range(len(attrs.begin))),
        ("steps", attrs.step),
    ):
        data = np.array(list(values), np.int64)
        constants.append(Tensor(f"{node.outputs[0]}/{label}", data.shape, DType.INT64, None, data))
    return OnnxNode("Slice", (node.inputs[0], *(t.name for t in constants)), {}, tuple(constants), channels_first=False)
