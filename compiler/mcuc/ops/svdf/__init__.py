"""Singular value decomposition filter: a dense layer over time in two stages, with a memory kept from run to run.

Inputs: x, feature weights [filters, features], time weights [filters, memory], bias [units], memory [1, filters *
memory], oldest first. Outputs: [1, units], and the memory with this run's features at its end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Rows, Table
from mcuc.numerics import INT32_MAX, multiply_by_quantized_multiplier, wrap32
from mcuc.ops._base import Cost, Operator, Shape
from mcuc.ops.svdf.attrs import SvdfAttrs
from mcuc.ops.svdf.tflite import from_tflite, to_tflite


def infer(attrs: SvdfAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """One value a unit, and the memory's own shape. Raises ValueError where the weights do not fit."""
    x, features, _, _, memory = inputs
    if len(x.shape) != 2 or x.shape[1] != features.shape[1]:
        raise ValueError(f"an input of shape {x.shape} does not fit weights of {features.shape}")
    return (x.shape[0], features.shape[0] // attrs.rank), memory.shape


def reference(attrs: SvdfAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x int8 [1, features], memory int8 or int16 -> int8 [1, units], memory."""
    x, features, time, bias, memory = (a for a in arrays if a is not None)
    info = np.iinfo(memory.dtype)
    dots = features.astype(np.int64) @ (x.astype(np.int64).reshape(-1) - attrs.input_zero_point)
    fresh = multiply_by_quantized_multiplier(dots, *attrs.feature)
    kept = memory.astype(np.int64).reshape(time.shape)
    kept = np.concatenate([kept[:, 1:], np.clip(fresh, info.min, info.max)[:, None]], axis=1)
    sums = (kept * time).sum(1).reshape(-1, attrs.rank).sum(1) + bias
    out = multiply_by_quantized_multiplier(wrap32(sums), *attrs.out) + attrs.output_zero_point
    return np.clip(out, -128, 127).astype(np.int8).reshape(1, -1), kept.astype(memory.dtype).reshape(memory.shape)


def cost(node: Node, graph: Graph) -> Cost:
    """Both stages."""
    return Cost(graph.tensors[node.inputs[1]].elements + graph.tensors[node.inputs[2]].elements)


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One row of units. The zero point goes into the sums' first terms."""
    attrs: SvdfAttrs = node.attrs
    features, time, bias = (graph.const(n) for n in node.inputs[1:4])
    wide = graph.tensors[node.inputs[4]].dtype.bytes == 2
    units = features.shape[0] // attrs.rank
    tables = (
        Table("features", "int8_t", features.reshape(-1)),
        Table("time", "int16_t" if wide else "int8_t", time.reshape(-1)),
        Table("first", "int32_t", (-attrs.input_zero_point * features.astype(np.int64).sum(1)).astype(np.int32)),
        Table("bias", "int32_t", bias),
    )
    params = {
        "kind": "svdf",
        "features": features.shape[1],
        "memory": time.shape[1],
        "rank": attrs.rank,
        "wide": wide,
        "by_feature": attrs.feature,
        "by_out": attrs.out,
        "out_zp": attrs.output_zero_point,
    }
    rows = (Rows(0, features.shape[1], 1),)
    return (Call("recurrent", params, tables, rows, 1, 1, units, units, units, whole_channels=True, keeps=1),)


def one_input(node: Node, graph: Graph) -> str | None:
    """One input vector a run (batch 1)."""
    shape = graph.tensors[node.inputs[0]].shape
    return f"the batch is {shape[0]}" if shape[0] != 1 else None


def int8_with_a_memory(node: Node, graph: Graph) -> str | None:
    """Input and feature weights are int8; time weights and memory are both int8 or both int16."""
    x, features, time, bias, memory = (graph.tensors[n] for n in node.inputs)
    found = tuple(t.dtype.value for t in (x, features, time, bias, memory))
    if found in (("int8", "int8", "int8", "int32", "int8"), ("int8", "int8", "int16", "int32", "int16")):
        return None
    return f"they are {', '.join(found)}"


def features_fit(node: Node, graph: Graph) -> str | None:
    """No sum over the features leaves 32 bits, and weights are constants."""
    weights = [graph.tensors[n].data for n in node.inputs[1:4]]
    if any(w is None for w in weights):
        return "a weight or bias is computed at run time"
    assert weights[0] is not None
    most = 255 * int(np.abs(weights[0].astype(np.int64)).sum(1).max(initial=0))
    return f"a sum can be {most}" if most > INT32_MAX else None


OPERATOR = Operator(
    name="svdf",
    summary="singular value decomposition filter with kept memory",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(one_input, int8_with_a_memory, features_fit),
    tflite=("SVDF",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
