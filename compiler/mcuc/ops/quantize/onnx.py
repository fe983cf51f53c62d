"""DequantizeLinear followed by QuantizeLinear with other parameters, and arithmetic with one constant number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import FULL, OnnxNode, activation, float_table, not_exportable

KINDS = ("QuantizeLinear", "ScalarMath")
MOST_STEPS = 1  # by which TFLite's fixed-point requantization differs from the float one


def _function(node: Imported) -> Callable[[Array], Array]:
    o: dict[str, Any] = dict(node.options)
    if node.kind == "ScalarMath":  # Add, Sub, Mul, Div, Pow with one constant number of the file
        value, first = np.float32(o["value"]), bool(o["constant_first"])
        operations = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power}
        operation = operations[o["operation"]]
        return lambda x: operation(value, x) if first else operation(x, value)
    return lambda x: x


def from_onnx(node: Imported) -> Built:
    """int8 to int8 by a table of DequantizeLinear, the function, QuantizeLinear in float32."""
    from mcuc.ops.quantize import Arithmetic, QuantizeAttrs

    x, o, origin = activation(node, 0), node.options, None
    if node.kind == "ScalarMath":
        origin = Arithmetic(o["operation"], float(np.float32(o["value"])), bool(o["constant_first"]))
    return Built("quantize", (x.name,), QuantizeAttrs(float_table(node, x, _function(node)), origin))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """As the arithmetic between DequantizeLinear and QuantizeLinear, which is none for a requantization. Raises
    McucError where the table is that of another function."""
    origin, x, out = node.attrs.origin, graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    after = _clamp(node, x, out) if x.dtype is out.dtype is DType.INT8 else FULL
    if origin is None:
        return OnnxNode("Identity", node.inputs, channels_first=False, after=after)
    number = Tensor(f"{out.name}/number", (), DType.FLOAT32, None, np.array(origin.value, np.float32))
    inputs = (number.name, x.name) if origin.constant_first else (x.name, number.name)
    return OnnxNode(origin.operation, inputs, {}, (number,), channels_first=False, after=after)


def _clamp(node: Node, x: Tensor, out: Tensor) -> tuple[int, int]:
    """The clamp that makes the table of what ONNX computes; FULL where none is needed."""
    origin = node.attrs.origin
    options = {} if origin is None else asdict(origin)
    real = Imported("QuantizeLinear" if origin is None else "ScalarMath", options, (x,), (out,), node.name)
    tables = (node.attrs.table, float_table(real, x, _function(real)))
    ours, theirs = (np.frombuffer(t, np.int8).astype(np.int64) for t in tables)
    for clamp in (FULL, (int(ours.min()), int(ours.max()))):
        if np.abs(np.clip(theirs, *clamp) - ours).max() <= MOST_STEPS:
            return clamp
    raise not_exportable(node, "its table is that of another function")
