"""Conv of ONNX over rank 5; the importer calls it Conv3D to tell it from the 2D one."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._conv_onnx import convolution
from mcuc.ops._onnx import OnnxNode, not_exportable

KINDS = ("Conv3D",)


def from_onnx(node: Imported) -> Built:
    """x NDHWC, weights already [oc, kd, kh, kw, c / group]; options["depth"]: the window over the depth."""
    from mcuc.ops.conv_3d import Conv3DAttrs

    read = convolution(node, rank=5, inputs=4)
    return read.built("conv_3d", node, Conv3DAttrs(**read.attrs, depth=node.options["depth"]), read.array)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Refused: the exporter writes images, not volumes."""
    raise not_exportable(node, "values of rank 5 are not written")
