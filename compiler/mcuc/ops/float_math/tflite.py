"""Subtraction and the sum of two as TFLite's operators."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.ir import Graph, Node
from mcuc.ops._base import Exported
from mcuc.ops._tflite import nearest_activation

_KINDS = {"sub": ("SUB", "SubOptions"), "sum": ("ADD", "AddOptions")}


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As SUB or ADD. Raises McucError("not-exportable") for a mean, sums of other than two, and a quotient: TFLite
    shifts small ones by more bits than a word has (ops/divide)."""
    if node.attrs.kind not in _KINDS or len(node.inputs) != 2:
        raise McucError(
            "not-exportable",
            f"TFLite has no {node.attrs.kind} of {len(node.inputs)} values",
            where=node.name,
            try_this="write an .onnx file instead, which says it: mcuc export MODEL -o FILE.onnx",
        )
    kind, options = _KINDS[node.attrs.kind]
    fused = nearest_activation(node.attrs.clamp, graph.tensors[node.outputs[0]], node.name)
    return Exported(kind, options, {"fusedActivationFunction": fused})
