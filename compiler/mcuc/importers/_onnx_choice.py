"""Handlers of ONNX operators that choose, compare, combine truth values, or compute with several values in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mcuc.importers._onnx_elementwise import aligned, either
from mcuc.importers._onnx_moves import cast
from mcuc.importers._onnx_nodes import Result, broken, dtype_of, finish, goal_of, requantize_to
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import FULL, Goal, dequantize, quantize
from mcuc.importers._onnx_state import State, build, not_quantized, optional, refuse, unique
from mcuc.importers._onnx_values import Value
from mcuc.ir import DType, Tensor


def _present(state: State, node: FileNode, index: int) -> Value:
    value = optional(state, node, index)
    if value is None:
        raise broken(node, f"lacks its input {index}")
    return value


def _in_goal(state: State, node: FileNode, index: int, goal: Goal) -> Value:
    """An operand in the integers of the result: quantizing keeps the order, so it may come before the choice."""
    value = _present(state, node, index)
    if value.array is not None:
        real = dequantize(value.array, value.params) if value.real and value.params else value.array
        return Value(value.shape, quantize(real, goal.params), params=goal.params, real=True)
    if not value.real or value.params is None or value.tensor is None:
        raise not_quantized(node.inputs[index], node.where)
    return requantize_to(state, node, value, goal)


def settled(state: State, node: FileNode, value: Value, goal: Goal) -> Value:
    """A value in the integers of its goal and within its clamp."""
    value = requantize_to(state, node, value, goal)
    if goal.clamp == FULL:
        return value
    assert value.tensor is not None and value.tensor.quant is not None
    scale, zero = np.float32(value.tensor.quant.scale[0]), value.tensor.quant.zero_point[0]
    low, high = (np.float32((c - zero) * scale) for c in goal.clamp)
    out = Tensor(unique(state, f"{node.outputs[0]}/clamp"), value.tensor.shape, DType.INT8, value.tensor.quant)
    return replace(value, tensor=build(state, "Clip", (value.tensor,), {"low": low, "high": high}, out, node.where))


def _combined(
    state: State, node: FileNode, kind: str, values: Sequence[Value], goal: Goal, clamps: bool, **options: Any
) -> Value:
    """One canonical node of broadcast operands."""
    tensors, shape, layout, stays = aligned(state, node, values)
    types = [dtype_of(v) for v in values]
    made = finish(state, node, kind, tensors, options, shape, layout, goal, types, clamps=clamps)
    return replace(made, layout=stays)


def _truth(state: State, node: FileNode, kind: str, values: Sequence[Value], **options: Any) -> Value:
    """One canonical node of broadcast operands whose result is bool."""
    tensors, shape, layout, stays = aligned(state, node, values)
    out = Tensor(unique(state, node.outputs[0]), layout.stored, DType.BOOL)
    return Value(shape, None, build(state, kind, tensors, options, out, node.where), stays)


def on_extremum(state: State, node: FileNode) -> Result:
    """Max and Min of any number of operands, two at a time."""
    goal = goal_of(state, node)
    parts = [_in_goal(state, node, i, goal) for i in range(len(node.inputs))]
    arrays = [p for p in parts if p.array is not None]
    runtime = [p for p in parts if p.array is None]
    if not runtime:
        raise broken(node, "only constants")
    if len(arrays) > 1:
        choose = np.maximum if node.kind == "Max" else np.minimum
        array = choose.reduce(np.broadcast_arrays(*(a.array for a in arrays if a.array is not None)))
        arrays = [Value(array.shape, array, params=goal.params, real=True)]
    parts = [*runtime, *arrays]
    if len(parts) == 1:
        return [settled(state, node, parts[0], goal)]
    result = parts[0]
    for n, part in enumerate(parts[1:], 2):
        last = n == len(parts)
        result = _combined(state, node, node.kind, [result, part], goal if last else Goal(goal.params), False)
    return [result]


def truth_value(state: State, node: FileNode, index: int) -> Value:
    """A bool operand. Raises McucError for another."""
    value = _present(state, node, index)
    kind = value.tensor.dtype.value if value.tensor is not None else str(getattr(value.array, "dtype", "float"))
    if kind != "bool":
        raise refuse("unsupported-type", f"{node.kind} reads {node.inputs[index]!r} of type {kind}, bool is needed",
                     node.where, "compare or cast it first")
    return value


def on_where(state: State, node: FileNode) -> Result:
    """Where by a truth value, between operands in the integers of the result."""
    goal = goal_of(state, node)
    values = [truth_value(state, node, 0), *(_in_goal(state, node, i, goal) for i in (1, 2))]
    return [_combined(state, node, "Where", values, goal, False)]


def on_logical(state: State, node: FileNode) -> Result:
    """And, Or, Xor, Not."""
    values = [truth_value(state, node, i) for i in range(len(node.inputs))]
    return [_truth(state, node, node.kind, values)]


def on_comparison(state: State, node: FileNode) -> Result:
    """Equal, Less and the like of dequantized values, with one constant number in float; Equal also of truth values,
    and of integers with 0, which tells padding from tokens."""
    values = [_present(state, node, i) for i in (0, 1)]
    if any(v.tensor is not None and v.tensor.dtype is DType.INT32 for v in values):
        return [_is_zero(state, node, values)]
    if all(v.tensor is not None and v.tensor.dtype is DType.BOOL for v in values):
        return [_truth(state, node, node.kind, values)]
    for i, value in enumerate(values):
        if value.array is not None and value.array.dtype == np.float32 and value.elements == 1:
            number = float(value.array.reshape(-1)[0])
            x = either(state, node, 1 - i)
            made = _truth(state, node, node.kind, [x], value=number, constant_first=i == 0)
            return [replace(made, shape=tuple(np.broadcast_shapes(x.shape, value.shape)))]
    return [_truth(state, node, node.kind, [either(state, node, 0), either(state, node, 1)])]


def _is_zero(state: State, node: FileNode, values: Sequence[Value]) -> Value:
    """Integers that equal a constant 0."""
    arrays = [v.array for v in values if v.array is not None]
    if node.kind != "Equal" or len(arrays) != 1 or arrays[0].size != 1 or arrays[0].any():
        raise refuse(
            "unsupported-operator",
            f"{node.kind} of integers at run time is not supported, but Equal with the constant 0",
            node.where,
            "compare with 0 (and Not), or give the network the truth values as a bool input",
        )
    (x,) = (v for v in values if v.array is None)
    made = _truth(state, node, "Not", [cast(state, node, x, DType.BOOL)])
    return replace(made, shape=tuple(np.broadcast_shapes(x.shape, arrays[0].shape)))


def on_float_math(state: State, node: FileNode) -> Result:
    """Sub and Div of two quantized values, Sum and Mean of any number."""
    goal = goal_of(state, node)
    values = [either(state, node, i) for i in range(len(node.inputs))]
    if len(values) == 1:
        return [settled(state, node, values[0], goal)]
    return [_combined(state, node, node.kind, values, goal, True)]
