"""Float functions of one value between DequantizeLinear and QuantizeLinear, as ONNX Runtime computes them."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, activation, float_table, not_exportable
from mcuc.ops.unary.attrs import UnaryAttrs
from mcuc.ops.unary.functions import DEFAULTS, FUNCTIONS

KINDS = tuple(FUNCTIONS)
_NAMES = {"".join(c if c.islower() or not i else f"_{c}" for i, c in enumerate(k)).lower(): k for k in KINDS}


def from_onnx(node: Imported) -> Built:
    """int8 to int8 by a table of DequantizeLinear, the function, QuantizeLinear in float32."""
    x = activation(node, 0)
    options = {key: float(node.options.get(key, value)) for key, value in DEFAULTS.get(node.kind, {}).items()}
    bad = [key for key, value in options.items() if not abs(value) < 1e30]
    if bad or (node.kind == "Celu" and options["alpha"] == 0):
        raise McucError(
            "broken-model",
            f"{node.kind} has {', '.join(f'{k} = {v:g}' for k, v in options.items())}",
            where=node.where,
            try_this="export the model again with finite attributes",
        )
    table = float_table(node, x, lambda real: FUNCTIONS[node.kind](real, options))
    kind = next(name for name, known in _NAMES.items() if known == node.kind)
    return Built("unary", (x.name,), UnaryAttrs(table, kind, tuple(options.values())))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As the float operator of that name. Raises McucError where ONNX has none."""
    attrs: UnaryAttrs = node.attrs
    kind = _NAMES.get(attrs.kind)
    if kind is None or kind == "QuickGelu":
        raise not_exportable(node, f"{attrs.kind} is no operator of ONNX")
    fields: dict[str, object] = dict(zip(DEFAULTS.get(kind, {}), attrs.parameters, strict=False))
    if kind == "Gelu":
        fields = {"approximate": "tanh" if attrs.parameters[0] else "none"}
    return OnnxNode(kind, node.inputs, fields, channels_first=False)
