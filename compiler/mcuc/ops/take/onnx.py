"""Pad of ONNX in modes reflect, edge and wrap."""

from __future__ import annotations

from math import prod

import numpy as np

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode

KINDS = ("Take",)  # the importer's name for it: no operator of ONNX is called so


def from_onnx(node: Imported) -> Built:
    """options["indices"]: for each stored axis the positions, or None."""
    from mcuc.ops.take import TakeAttrs

    return Built("take", (node.input(0).name,), TakeAttrs(tuple(node.options["indices"])))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Element by element: several axes by index have no one form in ONNX."""
    shape = graph.tensors[node.inputs[0]].shape
    chosen = [range(n) if c is None else c for n, c in zip(shape, node.attrs.indices, strict=True)]
    places = np.arange(prod(shape)).reshape(shape)[np.ix_(*chosen)]
    return OnnxNode("Places", node.inputs, {"places": places}, channels_first=False)
