"""Resize of ONNX in mode linear."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, not_exportable

KINDS = ("ResizeLinear",)


def from_onnx(node: Imported) -> Built:
    raise NotImplementedError


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    raise not_exportable(node, "no")
