"""Dense layer of int16 activations and int8 weights (TFLite's 16x8)."""

from __future__ import annotations

from collections.abc import Sequence

from mcuc.ir import Array, Graph, Node
from mcuc.kernels._base import Call
from mcuc.ops._base import Operator, int16_runtime
from mcuc.ops._conv import ConvAttrs, bias_or_zeros, matmul_exact
from mcuc.ops._wide import bias_of, constant_weights, finish16, short_sums
from mcuc.ops.conv_2d_16x8 import dot16_call
from mcuc.ops.fully_connected import cost, infer
from mcuc.ops.fully_connected.tflite import to_tflite
from mcuc.ops.fully_connected_16x8.tflite import from_tflite


def reference(attrs: ConvAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x int16 [..., k], weights int8 [oc, k], bias int64 [oc] or None."""
    x, w = arrays[0], arrays[1]
    assert x is not None and w is not None
    acc = matmul_exact(x.reshape(-1, w.shape[1]), w)
    return (finish16(acc + bias_or_zeros(arrays[2] if len(arrays) > 2 else None, w.shape[0]), attrs),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the dot16 family, each input row a pixel."""
    w = graph.const(node.inputs[1])
    oc, k = w.shape
    rows = graph.tensors[node.inputs[0]].elements // k
    return (dot16_call(node.attrs, (1, rows, k), w.reshape(oc, 1, 1, k), bias_of(node, graph), (1, rows)),)


OPERATOR = Operator(
    name="fully_connected_16x8",
    summary="dense layer of int16 activations",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int16_runtime, constant_weights, short_sums),
    tflite=("FULLY_CONNECTED",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    wide=True,
)
