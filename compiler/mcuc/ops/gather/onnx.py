"""Gather of ONNX."""

from __future__ import annotations

import numpy as np

from mcuc.ir import DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, not_exportable

KINDS = ("Gather",)


def from_onnx(node: Imported) -> Built:
    """options["axis"]: of the stored axes. Negative indices count from the end."""
    from mcuc.ops.gather import GatherAttrs

    indices = node.input(1)
    attrs = GatherAttrs(int(node.options["axis"]), nearest=indices.data is None)
    return Built("gather", (node.input(0).name, indices.name), attrs)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Gather in the graph's own order, by constant indices."""
    attrs, indices = node.attrs, graph.tensors[node.inputs[1]]
    if indices.data is None or attrs.batch:
        raise not_exportable(node, "indices of run time clamp where ONNX would fail")
    wide = np.where(indices.data < 0, indices.data + graph.tensors[node.inputs[0]].shape[attrs.axis], indices.data)
    constant = Tensor(f"{node.outputs[0]}/indices", indices.shape, DType.INT64, None, wide.astype(np.int64))
    inputs = (node.inputs[0], constant.name)
    return OnnxNode("Gather", inputs, {"axis": attrs.axis}, (constant,), channels_first=False)
