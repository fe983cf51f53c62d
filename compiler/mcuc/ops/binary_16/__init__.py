"""Arithmetic, minimum and maximum of two int16 activations, with broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node, Requant
from mcuc.kernels._base import Call
from mcuc.numerics import multiply_by_quantized_multiplier
from mcuc.numerics16 import requantize16
from mcuc.ops._base import Operator, int16_runtime, no_cost
from mcuc.ops._binary import binary_call, infer, viewable
from mcuc.ops.binary_16.attrs import LEFT_SHIFT, Binary16Attrs
from mcuc.ops.binary_16.tflite import KINDS, from_tflite, to_tflite

_CHOICES = {"max": np.maximum, "min": np.minimum}


def reference(attrs: Binary16Attrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: a and b int16, broadcast against each other."""
    a, b = arrays[0], arrays[1]
    assert a is not None and b is not None
    if attrs.kind in _CHOICES:
        return (_CHOICES[attrs.kind](a, b),)
    left, right = a.astype(np.int64), b.astype(np.int64)
    if attrs.kind == "mul":
        acc = left * right
    else:
        shift = 0 if attrs.kind == "square" else LEFT_SHIFT
        left, right = (_rescaled(x << shift, rule) for x, rule in zip((left, right), attrs.requants, strict=True))
        acc = left + right if attrs.kind == "add" else left - right
        acc = acc * acc if attrs.kind == "square" else acc
    assert attrs.requant is not None
    return (requantize16(acc.reshape(-1, 1), attrs.requant, *attrs.clamp).reshape(acc.shape),)


def _rescaled(x: Array, rule: Requant) -> Array:
    return multiply_by_quantized_multiplier(x, rule.multiplier[0], rule.shift[0])


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the binary16 family."""
    attrs: Binary16Attrs = node.attrs
    params: dict[str, Any] = {"left_shift": LEFT_SHIFT, "act_min": attrs.clamp[0], "act_max": attrs.clamp[1]}
    rules = [*zip("ab", attrs.requants, strict=False), *([] if attrs.requant is None else [("o", attrs.requant)])]
    for name, rule in rules:
        params.update({f"m{name}": rule.multiplier[0], f"s{name}": rule.shift[0]})
    return (binary_call(attrs.kind, node, graph, params, ()),)


OPERATOR = Operator(
    name="binary_16",
    summary="addition, subtraction, multiplication, squared difference, minimum, maximum of int16 activations",
    infer=infer,
    reference=reference,
    cost=no_cost,
    lower=lower,
    limits=(int16_runtime, viewable),
    tflite=KINDS,
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    in_place=True,
    wide=True,
)
