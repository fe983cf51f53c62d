"""DequantizeLinear followed by QuantizeLinear with other parameters, and arithmetic with one constant number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node
from mcuc.ops._base import Built, Imported
from mcuc.ops._onnx import OnnxNode, activation, float_table

KINDS = ("QuantizeLinear", "ScalarMath")


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
    from mcuc.ops.quantize import QuantizeAttrs

    x = activation(node, 0)
    return Built("quantize", (x.name,), QuantizeAttrs(float_table(node, x, _function(node))))


def to_onnx(node: Node, graph: Graph) -> OnnxNode:
    """A requantization: nothing stands between DequantizeLinear and QuantizeLinear."""
    return OnnxNode("Identity", node.inputs, channels_first=False)
