"""Float functions of one value between DequantizeLinear and QuantizeLinear, as ONNX Runtime computes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, activation, float_table, not_exportable
from mcuc.ops.unary.attrs import UnaryAttrs
from mcuc.ops.unary.functions import DEFAULTS, FUNCTIONS

KINDS = tuple(FUNCTIONS)
MOST_STEPS = 3  # by which TFLite's fixed-point functions differ from float ones
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
    kind = next(name for name, known in _NAMES.items() if known == node.kind)
    return Built("unary", (x.name,), UnaryAttrs(_table(node, x, options), kind, tuple(options.values())))


def _table(node: Imported, x: Tensor, options: Mapping[str, float]) -> bytes:
    return float_table(node, x, lambda real: FUNCTIONS[node.kind](real, options))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As the float operator of that name. Raises McucError where ONNX has none, or one of another table."""
    attrs: UnaryAttrs = node.attrs
    kind = _NAMES.get(attrs.kind)
    if kind is None or kind in ("Gelu", "Mish", "QuickGelu", "Swish"):
        raise not_exportable(node, f"opset 17, which the exporter writes, has no {attrs.kind}")
    options = dict(zip(DEFAULTS.get(kind, {}), attrs.parameters, strict=False))
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    real = Imported(kind, {}, (x,), (out,), node.name)
    tables = (attrs.table, _table(real, x, {**DEFAULTS.get(kind, {}), **options}))
    ours, theirs = (np.frombuffer(t, np.int8).astype(np.int64) for t in tables)
    if np.abs(ours - theirs).max() > MOST_STEPS:
        raise not_exportable(node, f"its table is not that of {kind}")
    return OnnxNode(kind, node.inputs, options, channels_first=False)
