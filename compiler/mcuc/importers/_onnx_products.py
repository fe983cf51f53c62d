"""MatMul, Gemm and Einsum whose right matrix is computed at run time, or is constant with several batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from mcuc.importers._onnx_macs import bias_tensor, dense, weight_value
from mcuc.importers._onnx_nodes import (
    Result,
    broken,
    dtype_of,
    finish,
    given,
    goal_of,
    layout_of,
    quantized_input,
    real_input,
    transposed_value,
)
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import Goal, dequantize
from mcuc.importers._onnx_state import State, need, not_quantized, optional, refuse, runtime
from mcuc.importers._onnx_values import Value, plain
from mcuc.ir import Tensor
from mcuc.ops._matmul import broadcast_batches

LETTERS_MOST = 8  # axes of an Einsum operand


def on_matmul(state: State, node: FileNode) -> Result:
    """Operands of any rank; a constant matrix on the right makes a dense layer, with a bias where one was joined."""
    w = optional(state, node, 1)
    goal = goal_of(state, node)
    if is_dense(real_input(state, node, 0), w):
        b = optional(state, node, 2)
        if b is not None and b.array is not None:
            b = replace(b, shape=(b.array.size,), array=b.array.reshape(-1))
        return [dense(state, node, real_input(state, node, 0), w, b, goal, False, {})]
    return [product(state, node, real_input(state, node, 0), real_input(state, node, 1), goal)]


def on_qlinear_matmul(state: State, node: FileNode) -> Result:
    """The same as one operator, with the scales among its inputs."""
    x = quantized_input(state, node, 0, given(state, node, 1))
    w = quantized_input(state, node, 3, given(state, node, 4))
    goal = Goal(given(state, node, 6))
    assert w.params is not None
    if is_dense(x, w):
        w = replace(w, params=replace(w.params, axis=1 if len(w.params.scale) > 1 else None))
        value = dense(state, node, x, w, None, goal, False, {})
    else:
        value = product(state, node, _stored(state, node, 0, x), _stored(state, node, 3, w), goal)
    return [replace(value, real=False)]


def _stored(state: State, node: FileNode, index: int, value: Value) -> Value:
    """A QLinear operand with a tensor; a constant becomes one."""
    return value if value.array is None else replace(runtime(state, node, index), params=value.params, real=True)


def is_dense(x: Value, w: Value | None) -> bool:
    """A run-time value times one constant matrix."""
    return x.array is None and w is not None and w.array is not None and w.array.ndim == 2


def product(
    state: State, node: FileNode, x: Value, y: Value, goal: Goal, options: Mapping[str, Any] | None = None
) -> Value:
    """x [..., m, k] times y [..., k, n]; one axis alone is a row on the left, a column on the right."""
    row, column = len(x.shape) == 1, len(y.shape) == 1
    x = replace(x, shape=(1, *x.shape)) if row else x
    y = replace(y, shape=(*y.shape, 1)) if column else y
    for value in (x, y):
        if value.params is None or len(value.params.scale) != 1 or len(value.shape) < 2:
            raise refuse(
                "unsupported-quantization",
                f"{node.kind} of a value of shape {value.shape} with a scale for every channel",
                node.where,
                "quantize both operands per tensor",
            )
    batches = broadcast_batches(x.shape[:-2], y.shape[:-2])
    if batches is None or x.shape[-1] != y.shape[-2]:
        raise broken(node, f"shapes {x.shape} and {y.shape}")
    (left, adj_x), (right, adj_y) = _matrix(state, node, x), _matrix(state, node, y)
    shape = (*batches[0], x.shape[-2], y.shape[-1])
    every = {**(options or {}), "adj_x": adj_x, "adj_y": adj_y}
    types = (dtype_of(x), dtype_of(y))
    out = finish(state, node, "MatMul", (left, right), every, shape, plain(shape), goal, types, clamps=True)
    kept = (*batches[0], *([] if row else shape[-2:-1]), *([] if column else shape[-1:]))
    return replace(out, shape=kept)


def _matrix(state: State, node: FileNode, value: Value) -> tuple[Tensor, bool]:
    """The operand in the file's order, or with its last two axes swapped where its bytes lie so already."""
    order = tuple(range(len(value.shape)))
    if not layout_of(value).is_plain():
        swapped = transposed_value(value, (*order[:-2], order[-1], order[-2]))
        if layout_of(swapped).is_plain():
            return need(state, swapped, order, node.where), True
    return need(state, value, order, node.where), False


def on_gemm(state: State, node: FileNode) -> Result:
    x, b = real_input(state, node, 0), optional(state, node, 2)
    alpha, beta = float(node.attrs.get("alpha", 1.0)), float(node.attrs.get("beta", 1.0))
    if int(node.attrs.get("transA", 0)):
        x = transposed_value(x, (1, 0)) if len(x.shape) == 2 else x
    if not alpha > 0:
        raise refuse("unsupported-operator", f"Gemm with alpha {alpha}", node.where, "fold alpha into the weights")
    if b is not None and prod(b.shape[:-1]) != 1:
        raise refuse(
            "unsupported-operator", f"Gemm with a bias of shape {b.shape}", node.where, "use one bias for each column"
        )
    if b is not None and b.array is not None and (alpha, beta) != (1.0, 1.0):  # the bias of sums that alpha scales
        real = b.array
        if b.params is not None:
            real = dequantize(real, replace(b.params, axis=real.ndim - 1 if len(b.params.scale) > 1 else None))
        b = Value(b.shape, (real * np.float32(beta) / np.float32(alpha)).astype(np.float32))
    return [_gemm(state, node, x, optional(state, node, 1), b, goal_of(state, node), alpha)]


def on_qgemm(state: State, node: FileNode) -> Result:
    if len(node.inputs) < 9 or not node.inputs[7]:
        raise not_quantized(node.outputs[0], node.where)
    x = quantized_input(state, node, 0, given(state, node, 1))
    if int(node.attrs.get("transA", 0)) and len(x.shape) == 2:
        x = transposed_value(x, (1, 0))
    weights = weight_value(state, node, 3, 0 if int(node.attrs.get("transB", 0)) else 1)
    bias, goal = optional(state, node, 6), Goal(given(state, node, 7))
    value = _gemm(state, node, x, weights, bias, goal, float(node.attrs.get("alpha", 1.0)))
    return [replace(value, real=False)]


def _gemm(
    state: State, node: FileNode, x: Value, w: Value | None, b: Value | None, goal: Goal, alpha: float
) -> Value:
    turned = bool(node.attrs.get("transB", 0))
    if w is not None and w.array is None and w.tensor is not None:
        return run_time_gemm(state, node, x, w, b, goal, turned, alpha)
    return dense(state, node, x, w, b, goal, turned, {"alpha": alpha})


def run_time_gemm(
    state: State, node: FileNode, x: Value, w: Value, b: Value | None, goal: Goal, turned: bool, alpha: float
) -> Value:
    """x [m, k] times a matrix computed at run time, [n, k] where turned, else [k, n], plus a constant bias."""
    if len(x.shape) != 2 or len(w.shape) != 2 or w.params is None or len(w.params.scale) != 1:
        raise broken(node, f"shapes {x.shape} and {w.shape}")
    rows = w if turned else transposed_value(w, (1, 0))
    if x.shape[1] != rows.shape[1]:
        raise broken(node, f"shapes {x.shape} and {w.shape}")
    weights = need(state, rows, (0, 1), node.where)
    shape = (x.shape[0], rows.shape[0])
    return finish(
        state,
        node,
        "Gemm",
        (need(state, x, (0, 1), node.where), weights, bias_tensor(state, node, b)),
        {"alpha": alpha},
        shape,
        plain(shape),
        goal,
        (dtype_of(x),),
        clamps=True,
    )


def on_einsum(state: State, node: FileNode) -> Result:
    """Equations of two operands that are a matrix product: batch axes in both, one summed axis, one free axis each."""
    equation = node.attrs.get("equation", "")
    text = (equation.decode() if isinstance(equation, bytes) else str(equation)).replace(" ", "")
    parts = text.replace("->", ",").split(",")
    if len(node.inputs) != 2 or "->" not in text or len(parts) != 3 or not all(p.isalpha() for p in parts):
        raise _not_a_product(node, text)
    a, b, out = parts
    x, y = real_input(state, node, 0), real_input(state, node, 1)
    summed = [c for c in a if c in b and c not in out]
    batch = [c for c in out if c in a and c in b]
    left, right = [c for c in a if c in out and c not in b], [c for c in b if c in out and c not in a]
    one_each = len(summed) == len(left) == len(right) == 1
    if not one_each or any(len(set(p)) < len(p) or len(p) > LETTERS_MOST for p in parts) or (
        {*a, *b} != {*batch, *summed, *left, *right}
    ):
        raise _not_a_product(node, text)
    if len(x.shape) != len(a) or len(y.shape) != len(b):
        raise broken(node, f"equation {text!r} with shapes {x.shape} and {y.shape}")
    value = product(
        state,
        node,
        transposed_value(x, [a.index(c) for c in (*batch, *left, *summed)]),
        transposed_value(y, [b.index(c) for c in (*batch, *summed, *right)]),
        goal_of(state, node),
    )
    made = [*batch, *left, *right]
    return [transposed_value(value, [made.index(c) for c in out])]


def _not_a_product(node: FileNode, equation: str) -> Exception:
    return refuse(
        "unsupported-operator",
        f"Einsum {equation!r} is not a product of two matrices, batch by batch",
        node.where,
        "write it with MatMul, Transpose, Mul and ReduceSum",
    )


__all__: Sequence[str] = ("is_dense", "on_einsum", "on_matmul", "on_qlinear_matmul", "product", "run_time_gemm")
