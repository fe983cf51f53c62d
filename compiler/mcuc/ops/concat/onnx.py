"""Concat of ONNX: parts of other quantization are rescaled by a table, as QLinearConcat does."""

from __future__ import annotations

from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import FULL, OnnxNode, activation, clamp_of, float_table

KINDS = ("Concat",)


def from_onnx(node: Imported) -> Built:
    """options["axis"]: of the stored axes."""
    from mcuc.ops.concat import ConcatAttrs

    parts = [activation(node, i) for i in range(len(node.inputs))]
    plain = clamp_of(node) == FULL
    tables = tuple(
        b"" if plain and p.quant == node.outputs[0].quant else float_table(node, p, lambda real: real) for p in parts
    )
    return Built("concat", tuple(p.name for p in parts), ConcatAttrs(int(node.options["axis"]), tables))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As Concat in the graph's own order."""
    return OnnxNode("Concat", node.inputs, {"axis": node.attrs.axis}, channels_first=False)
