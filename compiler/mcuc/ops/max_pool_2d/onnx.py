"""MaxPool of ONNX."""

from __future__ import annotations

from typing import Any

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, activation, clamp_of, window_of
from mcuc.ops._pool import PoolAttrs

KINDS = ("MaxPool",)


def from_onnx(node: Imported) -> Built:
    """The largest integer of the window; input and output share their quantization."""
    return Built("max_pool_2d", (activation(node, 0).name,), PoolAttrs(window_of(node), clamp_of(node)))


def pool_options(node: Node) -> dict[str, Any]:
    """Window attributes as ONNX writes them."""
    window = node.attrs.window
    return {"kernel_shape": list(window.kernel), "strides": list(window.stride), "pads": list(window.pad)}


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As MaxPool."""
    options = {**pool_options(node), "dilations": list(node.attrs.window.dilation)}
    return OnnxNode("MaxPool", node.inputs, options, after=node.attrs.clamp)
