"""Matrix product of two int16 tensors, batch by batch, both computed at run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mcuc.ir import Array, DType, Graph, Node, Requant
from mcuc.kernels._base import Call, Rows
from mcuc.numerics16 import reduce_multiplier, requantize16
from mcuc.ops._base import Built, Exported, Imported, Operator, int16_runtime, zero_point_of
from mcuc.ops._matmul import MatmulAttrs, broadcast_batches
from mcuc.ops._wide import INT16, wide_activation, wide_tensor
from mcuc.ops.batch_matmul import LARGEST_INDEX, cost, infer
from mcuc.ops.batch_matmul.tflite import checked_ranks, float32_requant

MOST_DEPTH = 1 << 16  # products of 2^30, in 48 bits


def from_tflite(node: Imported) -> Built:
    """x and y int16 of rank 2 to 5. Raises McucError for other types and ranks."""
    x, y, out = wide_activation(node, 0), wide_activation(node, 1), wide_tensor(node, node.outputs[0])
    checked_ranks(node, x, y)
    attrs = MatmulAttrs(
        requant=replace(float32_requant(x, y, out, node.where), rule="tflite_wide"),
        output_zero_point=zero_point_of(out, node.where),
        clamp=INT16,
        adj_x=bool(node.options.adjX),
        adj_y=bool(node.options.adjY),
    )
    return Built("batch_matmul_16", (x.name, y.name), attrs)


def to_tflite(node: Node, graph: Graph) -> Exported:
    """As BATCH_MATMUL."""
    return Exported("BATCH_MATMUL", "BatchMatMulOptions", {"adjX": node.attrs.adj_x, "adjY": node.attrs.adj_y})


def reference(attrs: MatmulAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """Integer reference: x and y int16; sums of 64 bits."""
    x, y = arrays[0], arrays[1]
    assert x is not None and y is not None
    left = np.swapaxes(x, -1, -2) if attrs.adj_x else x
    right = np.swapaxes(y, -1, -2) if attrs.adj_y else y
    acc = np.matmul(left.astype(np.float64), right.astype(np.float64)).astype(np.int64)  # exact: below 2^47
    return (requantize16(acc.reshape(-1, acc.shape[-1]), attrs.requant, *attrs.clamp).reshape(acc.shape),)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One call of the matmul16 family, each product a row."""
    attrs: MatmulAttrs = node.attrs
    x, y = (graph.tensors[n] for n in node.inputs)
    *batch_x, m, k = (*x.shape[:-2], x.shape[-1], x.shape[-2]) if attrs.adj_x else x.shape
    *batch_y, _, n = (*y.shape[:-2], y.shape[-1], y.shape[-2]) if attrs.adj_y else y.shape
    found = broadcast_batches(tuple(batch_x), tuple(batch_y))
    assert found is not None
    r: Requant = attrs.requant
    params: dict[str, Any] = {
        "outs": n,
        "depth": k,
        "left_pixel": 2 if attrs.adj_x else 2 * k,
        "left_tap": 2 * m if attrs.adj_x else 2,
        "right_channel": 2 * k if attrs.adj_y else 2,
        "right_tap": 2 if attrs.adj_y else 2 * n,
        "multiplier": int(reduce_multiplier(r.multiplier[0])),
        "shift": r.shift[0],
        "act_min": attrs.clamp[0],
        "act_max": attrs.clamp[1],
    }
    rows = (
        _rows(0, tuple(found[1]), 2 * m * k, x.elements // (m * k)),
        _rows(1, tuple(found[2]), 2 * k * n, y.elements // (k * n)),
    )
    count = len(found[1])
    return (Call("matmul16", params, (), rows, count, m, 2 * n, 2 * m * n, 2 * n, whole_channels=True),)


def _rows(source: int, batch: tuple[int, ...], size: int, count: int) -> Rows:
    """The operand's matrices of `size` bytes as rows: one after the other, or by their numbers."""
    plain = batch == tuple(range(count))
    return Rows(source, size, count) if plain else Rows(source, size, count, index=batch)


def both_computed(node: Node, graph: Graph) -> str | None:
    """Both operands are computed at run time, in at most 32767 products with sums of at most 65536."""
    for name in node.inputs:
        if graph.tensors[name].data is not None or graph.tensors[name].dtype is not DType.INT16:
            return f"tensor {name!r} is a constant"
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    depth = x.shape[-2] if node.attrs.adj_x else x.shape[-1]
    products = out.elements // max(1, out.shape[-1] * out.shape[-2])
    if depth > MOST_DEPTH or products > LARGEST_INDEX:
        return f"{products} products with sums of {depth}"
    return None


OPERATOR = Operator(
    name="batch_matmul_16",
    summary="matrix product of two int16 tensors, batch by batch",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int16_runtime, both_computed),
    tflite=("BATCH_MATMUL",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
    wide=True,
)
