"""ADD, SUB, MUL, SQUARED_DIFFERENCE, MAXIMUM and MINIMUM of TFLite with int16 activations."""

from __future__ import annotations

from typing import Literal

from mcuc.errors import McucError
from mcuc.ir import Graph, Node
from mcuc.ops._base import Built, Exported, Imported, scale_of
from mcuc.ops._tflite import activation_range, fused_activation
from mcuc.ops._wide import one_requant, wide_activation, wide_tensor
from mcuc.ops.binary_16.attrs import LEFT_SHIFT, Binary16Attrs

_CHOICES: dict[str, Literal["max", "min"]] = {"MAXIMUM": "max", "MINIMUM": "min"}
_NAMES = {"add": "ADD", "sub": "SUB", "mul": "MUL", "max": "MAXIMUM", "min": "MINIMUM",
          "square": "SQUARED_DIFFERENCE"}
KINDS = tuple(_NAMES.values())


def from_tflite(node: Imported) -> Built:
    """Either operand may be constant. Raises McucError for other types, and where minimum and maximum change scales."""
    a, b, out = wide_activation(node, 0), wide_activation(node, 1), wide_tensor(node, node.outputs[0])
    scales = [scale_of(t, node.where) for t in (a, b, out)]
    if node.kind in _CHOICES:
        if len(set(scales)) > 1:
            raise McucError(
                "unsupported-quantization",
                f"{node.kind} of int16 tensors with scales {scales[0]}, {scales[1]}, {scales[2]}",
                where=node.where,
                try_this="give both operands and the result one scale",
            )
        return Built("binary_16", (a.name, b.name), Binary16Attrs(_CHOICES[node.kind]))
    twice_largest = 2 * max(scales[:2])
    to_common = one_requant(scales[0] / twice_largest), one_requant(scales[1] / twice_largest)
    if node.kind == "SQUARED_DIFFERENCE":
        return Built("binary_16", (a.name, b.name), Binary16Attrs("square", to_common, one_requant(
            twice_largest * twice_largest / scales[2])))
    clamp = activation_range(node.options.fusedActivationFunction, out, node.where)
    if node.kind == "MUL":
        attrs = Binary16Attrs("mul", (), one_requant(scales[0] * scales[1] / scales[2]), clamp)
        return Built("binary_16", (a.name, b.name), attrs)
    attrs = Binary16Attrs(
        "sub" if node.kind == "SUB" else "add",
        to_common,
        one_requant(twice_largest / ((1 << LEFT_SHIFT) * scales[2])),
        clamp,
    )
    return Built("binary_16", (a.name, b.name), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As the operator of the same name."""
    attrs: Binary16Attrs = node.attrs
    if attrs.kind == "square":
        return Exported(_NAMES[attrs.kind], "SquaredDifferenceOptions")
    if attrs.kind in ("max", "min"):
        return Exported(_NAMES[attrs.kind], "MaximumMinimumOptions")
    fused = fused_activation(attrs.clamp, graph.tensors[node.outputs[0]], node.name)
    return Exported(_NAMES[attrs.kind], f"{attrs.kind.capitalize()}Options", {"fusedActivationFunction": fused})
