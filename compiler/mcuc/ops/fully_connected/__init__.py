"""Dense layer: every row of the input times the weight matrix, which may be computed at run time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call
from mcuc.ops._base import Cost, Operator, Shape, int8_runtime
from mcuc.ops._conv import ConvAttrs, bias_or_zeros, dot_call, finish, matmul_exact, require_folded
from mcuc.ops._matmul import MOST_DEPTH, Matrices, product_call
from mcuc.ops.fully_connected.onnx import KINDS, from_onnx, to_onnx
from mcuc.ops.fully_connected.tflite import from_tflite, to_tflite


def infer(attrs: ConvAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """x of any rank seen as [rows, k], weights [oc, k] -> [rows, oc]."""
    oc, k = inputs[1].shape
    return ((inputs[0].elements // k, oc),)


def reference(attrs: ConvAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int8 [..., k], weights int8 [oc, k], bias int32 [oc] or None."""
    x, w = arrays[0], arrays[1]
    assert x is not None and w is not None
    centred = w.astype(np.int64) - np.array(attrs.weight_zero_point, np.int64).reshape(-1, 1)
    acc = matmul_exact(x.reshape(-1, w.shape[1]).astype(np.int64) - attrs.input_zero_point, centred)
    return (finish(acc + bias_or_zeros(arrays[2] if len(arrays) > 2 else None, w.shape[0]), attrs),)


def cost(node: Node, graph: Graph) -> Cost:
    """Output elements times row length."""
    return Cost(graph.tensors[node.outputs[0]].elements * graph.tensors[node.inputs[1]].shape[1])


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the dot family, each input row a pixel; a matrix product where the weights come at run time."""
    x, weights = graph.tensors[node.inputs[0]], graph.tensors[node.inputs[1]]
    oc, k = weights.shape
    rows = x.elements // k
    bias = graph.const(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if weights.data is None:
        left = Matrices(0 if x.data is None else x.data, False, (0,), 1)
        right = Matrices(1 if x.data is None else 0, True, (0,), 1)
        return (product_call(node.attrs, left, right, (rows, k, oc), bias),)
    require_folded(node)
    w = graph.const(node.inputs[1]).reshape(oc, 1, 1, k)
    given = np.zeros(oc, np.int32) if bias is None else bias
    return (dot_call(node.attrs, (1, rows, k), w, given, (1, rows, oc), int4=weights.int4),)


def int8_weights(node: Node, graph: Graph) -> str | None:
    """Weights are int8 of rank 2; where they are computed at run time, with sums of at most 32768 products."""
    w = graph.tensors[node.inputs[1]]
    if w.dtype.value != "int8" or len(w.shape) != 2:
        return f"weights {w.name!r} are {w.dtype.value} of shape {w.shape}"
    if w.data is None and w.shape[1] > MOST_DEPTH:
        return f"sums of {w.shape[1]} products"
    return None


OPERATOR = Operator(
    name="fully_connected",
    summary="dense layer",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_runtime, int8_weights),
    tflite=("FULLY_CONNECTED",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    onnx=KINDS,
    from_onnx=from_onnx,
    to_onnx=to_onnx,
)
