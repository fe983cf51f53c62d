"""ABS of TFLite: what its file says, in the operator's own terms, and back."""

from __future__ import annotations

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Requant, Tensor
from mcuc.numerics import quantize_multiplier
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._template.attrs import AbsoluteAttrs
from mcuc.ops._tflite import checked_activation


def _attrs(x: Tensor, out: Tensor, where: str) -> AbsoluteAttrs:
    """TFLite Micro divides the scales in float32 (elementwise.cc, PrepareAbsRsqrt)."""
    real = float(np.float32(scale_of(x, where)) / np.float32(scale_of(out, where)))
    multiplier, shift = quantize_multiplier(real)
    requant = Requant("tflite_double", (multiplier,), (shift,))
    return AbsoluteAttrs(zero_point_of(x, where), zero_point_of(out, where), requant)


def from_tflite(node: Imported) -> Built:
    """Raises McucError, with the tensor's name and what to do, on what the operator cannot read."""
    if node.unsigned:  # decide what a model that was uint8 means; here nobody has checked it
        raise McucError(
            "unsupported-operator",
            f"{node.kind} of uint8 tensors is not supported",
            where=node.where,
            try_this="convert the model again with int8 activations",
        )
    x = checked_activation(node, 0)
    return Built("_template", (x.name,), _attrs(x, node.outputs[0], node.where))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As ABS. Raises McucError where reading the file again would give other attributes."""
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if _attrs(x, out, node.name) != node.attrs:
        raise McucError(
            "not-exportable",
            "the node's rounding is not that of TFLite's ABS",
            where=node.name,
            try_this="export to ONNX instead",
        )
    return Exported("ABS", "AbsOptions")
