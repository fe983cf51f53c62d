"""PRELU of TFLite."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Requant, Tensor
from mcuc.ops._base import Built, Exported, Imported, scale_of, zero_point_of
from mcuc.ops._tflite import FULL, checked_activation, signed_multiplier
from mcuc.ops.prelu.attrs import PReluAttrs


def _attrs(x: Tensor, alpha: Tensor, out: Tensor, where: str) -> PReluAttrs:
    """The scales are divided in double precision (PreluPrepare)."""
    above = scale_of(x, where) / scale_of(out, where)
    below = scale_of(x, where) * scale_of(alpha, where) / scale_of(out, where)
    rules = [Requant("tflite_double", (m,), (s,)) for m, s in map(signed_multiplier, (above, below))]
    zeros = (zero_point_of(x, where), zero_point_of(alpha, where))
    return PReluAttrs(zeros, rules[0], rules[1], zero_point_of(out, where), FULL)


def from_tflite(node: Imported) -> Built:
    """Slopes may be constant or computed. Raises McucError on float tensors."""
    x, alpha = checked_activation(node, 0), checked_activation(node, 1)
    return Built("prelu", (x.name, alpha.name), _attrs(x, alpha, node.outputs[0], node.where))


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As PRELU. Raises McucError where TFLite would round otherwise."""
    x, alpha, out = (graph.tensors[n] for n in (*node.inputs[:2], node.outputs[0]))
    if _attrs(x, alpha, out, node.name) != node.attrs:
        raise McucError(
            "not-exportable",
            "the node's rounding is not that of TFLite's PRELU",
            where=node.name,
            try_this="export to ONNX instead",
        )
    return Exported("PRELU")


def as_tflite(node: Node, graph: Graph) -> Exported:
    """As PRELU, in TFLite's rounding. Raises McucError for a clamp that it lacks."""
    if node.attrs.clamp != FULL:
        raise McucError(
            "not-exportable",
            f"TFLite's PRELU has no clamp, found {node.attrs.clamp}",
            where=node.name,
            try_this="compile with --profile onnx",
        )
    return Exported("PRELU")
