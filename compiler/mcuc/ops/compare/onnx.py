"""Equal, Less, LessOrEqual, Greater and GreaterOrEqual of ONNX: float32 values behind DequantizeLinear."""

from __future__ import annotations

import numpy as np

from mcuc.ir import Array, DType, Tensor
from mcuc.ops._base import Built, Imported, scale_of, zero_point_of
from mcuc.ops._onnx import activation
from mcuc.ops.compare.attrs import CompareAttrs, Kind, ranked

_KINDS: dict[str, Kind] = {
    "Equal": "equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
}
KINDS = tuple(_KINDS)


def _worth(x: Tensor, where: str) -> Array:
    steps = (np.arange(-128, 128) - zero_point_of(x, where)).astype(np.float32)
    real: Array = steps * np.float32(scale_of(x, where))
    return real


def from_onnx(node: Imported) -> Built:
    """Exactly the float32 comparison; truth values are compared as they are."""
    if "value" in node.options:
        return _with_number(node)
    a, b = node.input(0), node.input(1)
    if a.dtype is DType.BOOL and b.dtype is DType.BOOL:
        return Built("compare", (a.name, b.name), CompareAttrs(_KINDS[node.kind]))
    a, b = activation(node, 0), activation(node, 1)
    attrs = ranked(_KINDS[node.kind], _worth(a, node.where), _worth(b, node.where))
    return Built("compare", (a.name, b.name), attrs)


def _with_number(node: Imported) -> Built:
    """options: a constant number in float, and whether it comes first; it stands there as an int8 of its own."""
    x = activation(node, 0)
    zero = Tensor(f"{node.outputs[0].name}/number", (1,), DType.INT8, None, np.zeros(1, np.int8))
    number = np.full(256, node.options["value"], np.float32)
    sides = [(x, _worth(x, node.where)), (zero, number)]
    if node.options["constant_first"]:
        sides.reverse()
    attrs = ranked(_KINDS[node.kind], sides[0][1], sides[1][1])
    return Built("compare", (sides[0][0].name, sides[1][0].name), attrs, (zero,))
