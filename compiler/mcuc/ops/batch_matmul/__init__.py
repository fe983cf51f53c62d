"""Matrix product of two tensors, batch by batch: either operand or both computed at run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._conv import dot_call, finish
from mcuc.ops._matmul import MOST_DEPTH, MatmulAttrs, Matrices, broadcast_batches, product_call
from mcuc.ops.batch_matmul.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.batch_matmul.tflite import from_tflite, to_tflite

MOST_PRODUCTS = 64  # with a constant, each of which is a piece of the layer's code
LARGEST_INDEX = 32767


def infer(attrs: MatmulAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x [..., m, k], y [..., k, n] (their last axes swapped where attrs say so) -> [..., m, n], batches broadcast."""
    x, y = _turned(inputs[0].shape, attrs.adj_x), _turned(inputs[1].shape, attrs.adj_y)
    batches = broadcast_batches(x[:-2], y[:-2])
    if batches is None or x[-1] != y[-2]:
        raise McucError(
            "broken-model",
            f"shapes {inputs[0].shape} and {inputs[1].shape} cannot be multiplied",
            where=f"tensors {inputs[0].name!r} and {inputs[1].name!r}",
            try_this="check that the model file is complete",
        )
    return ((*batches[0], x[-2], y[-1]),)


def reference(attrs: MatmulAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x and y int8."""
    x, y = arrays[0], arrays[1]
    assert x is not None and y is not None
    left = x.astype(np.float64) - attrs.input_zero_point  # exact: every sum stays far below 2^53
    right = y.astype(np.float64) - attrs.weight_zero_point[0]
    left = np.swapaxes(left, -1, -2) if attrs.adj_x else left
    right = np.swapaxes(right, -1, -2) if attrs.adj_y else right
    acc = np.matmul(left, right).astype(np.int64)
    return (finish(acc.reshape(-1, acc.shape[-1]), attrs).reshape(acc.shape),)


def cost(node: Node, graph: Graph) -> Cost:
    """Output elements times the length of a sum."""
    attrs: MatmulAttrs = node.attrs
    depth = _turned(graph.tensors[node.inputs[0]].shape, attrs.adj_x)[-1]
    return Cost(graph.tensors[node.outputs[0]].elements * depth)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call for all products where both operands are computed at run time; with a constant matrix a call for each
    product, of the dot family where that is the right one."""
    attrs: MatmulAttrs = node.attrs
    x, y = (graph.tensors[n] for n in node.inputs)
    left, right = _turned(x.shape, attrs.adj_x), _turned(y.shape, attrs.adj_y)
    found = broadcast_batches(left[:-2], right[:-2])
    assert found is not None
    _, numbers, others = found
    m, k, n = left[-2], left[-1], right[-1]
    if x.data is None and y.data is None:
        sides = (
            Matrices(0, attrs.adj_x, tuple(numbers), x.elements // (m * k)),
            Matrices(1, attrs.adj_y, tuple(others), y.elements // (k * n)),
        )
        return (product_call(attrs, *sides, (m, k, n)),)
    if y.data is not None and not attrs.adj_x:
        weights = (y.data if attrs.adj_y else np.swapaxes(y.data, -1, -2)).reshape(-1, n, k)
        if len(weights) == 1:
            return (_dense(attrs, weights[0], x.elements // k, 0, 0),)
        pairs = enumerate(zip(numbers, others, strict=True))
        return tuple(_dense(attrs, weights[b], m, a * m * k, i * m * n) for i, (a, b) in pairs)
    calls = []
    for i, (a, b) in enumerate(zip(numbers, others, strict=True)):
        one = Matrices(0, attrs.adj_x, (a,), 0) if x.data is None else _piece(x.data, a, m * k, attrs.adj_x)
        other = Matrices(0, attrs.adj_y, (b,), 0) if y.data is None else _piece(y.data, b, k * n, attrs.adj_y)
        calls.append(product_call(attrs, one, other, (m, k, n), out_offset=i * m * n))
    return tuple(calls)


def _piece(data: Array, number: int, elements: int, turned: bool) -> Matrices:
    return Matrices(data.reshape(-1)[number * elements : (number + 1) * elements], turned, (0,), 1)


def _dense(attrs: MatmulAttrs, weights: Array, rows: int, offset: int, out_offset: int) -> Call:
    """`rows` rows of x from byte `offset` on times constant weights [n, k], to byte `out_offset` of the output."""
    n, k = weights.shape
    sums = weights.astype(np.int64).sum(1) - k * attrs.weight_zero_point[0]
    bias = (-attrs.input_zero_point * sums).astype(np.int32)
    call = dot_call(replace(attrs, input_zero_point=0), (1, rows, k), weights.reshape(n, 1, 1, k), bias, (1, rows, n))
    (read,) = call.rows
    if offset or out_offset:  # a part of the tensor, whose bytes the columns would not tell
        read = replace(read, offset=offset, columns=None)
    return replace(call, rows=(read,), out_offset=out_offset)


def _turned(shape: tuple[int, ...], turned: bool) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if turned else shape


def short_sums(node: Node, graph: Graph) -> str | None:
    """Sums have at most 32768 products, and at most 32767 matrices or, with a constant operand, 64 are multiplied."""
    attrs: MatmulAttrs = node.attrs
    x, y, out = (graph.tensors[n] for n in (*node.inputs, *node.outputs))
    depth = _turned(x.shape, attrs.adj_x)[-1]
    if depth > MOST_DEPTH:
        return f"sums of {depth} products"
    products = out.elements // max(1, out.shape[-1] * out.shape[-2])
    one = y.data is not None and not attrs.adj_x and y.elements == y.shape[-1] * y.shape[-2]
    most = LARGEST_INDEX if one or (x.data is None and y.data is None) else MOST_PRODUCTS
    return f"{products} matrices are multiplied" if products > most else None


def int8_operands(node: Node, graph: Graph) -> str | None:
    """Both operands are int8."""
    for name in node.inputs:
        if graph.tensors[name].dtype.value != "int8":
            return f"tensor {name!r} is {graph.tensors[name].dtype.value}"
    return None


OPERATOR = Operator(
    name="batch_matmul",
    summary="matrix product of two tensors, batch by batch",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, int8_operands, short_sums),
    tflite=("BATCH_MATMUL",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
