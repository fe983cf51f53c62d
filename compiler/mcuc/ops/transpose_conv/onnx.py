"""ConvTranspose of ONNX. ONNX Runtime has no integer kernel: it computes in float between DequantizeLinear and
QuantizeLinear, so that a sum near a tie may differ by a step."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._conv_onnx import convolution
from mcuc.ops._onnx import OnnxNode, not_exportable
from mcuc.ops.transpose_conv.attrs import TransposeConvAttrs

KINDS = ("ConvTranspose",)


def from_onnx(node: Imported) -> Built:
    """x NHWC, weights already OHWI with scales along axis 0; options["size"]: output height and width."""
    read = convolution(node, rank=4, inputs=3)
    return read.built("transpose_conv", node, TransposeConvAttrs(**read.attrs, size=node.options["size"]), read.array)


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """Refused: the runtime would compute it in float."""
    raise not_exportable(node, "ONNX Runtime has no integer kernel of it")
