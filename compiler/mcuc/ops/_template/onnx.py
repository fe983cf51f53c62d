"""Abs of ONNX: ONNX Runtime computes it in float32 between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

import numpy as np

from mcuc.ir import Graph, Node, Requant
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import OnnxNode, activation
from mcuc.ops._template.attrs import AbsoluteAttrs

KINDS = ("Abs",)  # each needs an entry in importers/onnx.py HANDLERS, which resolves layouts and quantization


def from_onnx(node: Imported) -> Built:
    """The f32_rne rule: float32(steps) * float32(x scale / y scale), half to even.

    The runtime multiplies by one scale and divides by the other; this folds both into one factor, which may differ in
    the last place. Where that matters, build the table with mcuc.ops._onnx.float_table, step by step, as clip does.
    """
    x, out = activation(node, 0), node.outputs[0]
    factor = np.float32(scale_of(x, node.where)) / np.float32(scale_of(out, node.where))
    requant = Requant("f32_rne", scale=(float(factor),))
    return Built(
        "_template",
        (x.name,),
        AbsoluteAttrs(zero_point_of(x, node.where), zero_point_of(out, node.where), requant),
    )


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """In terms of the float operator; the exporter adds the quantize and dequantize nodes around it."""
    return OnnxNode("Abs", node.inputs, channels_first=False)
