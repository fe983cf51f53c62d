"""LSTM, GRU and RNN over one whole sequence, in integers: what ONNX Runtime computes in float, within a step.

Inputs: x, weights int8 [gates, units, features], recurrent weights int8 [gates, units, units], scales int32 [gates,
units, 4] (of the sums over input and hidden state, a multiplier and a shift each), biases int32 [gates (and one more
for a GRU: of the hidden state's part), units] with 12 fractional bits, first state int32 [1 or 2, units] (hidden, cell)
with 15.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Rows, Table
from mcuc.numerics import multiply_by_quantized_multiplier
from mcuc.numerics16 import multiply_q15, sigmoid16, sigmoid16_table, tanh16
from mcuc.ops._base import Cost, Operator, Shape
from mcuc.ops.recurrent.attrs import RecurrentAttrs
from mcuc.ops.recurrent.onnx import KINDS, from_onnx

MOST_CELL = 16 << 15  # where tanh is long 1


def infer(attrs: RecurrentAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """[time, 1, 1, units], or [1, 1, units] of the last step. Raises ValueError where x is no sequence."""
    x, units = inputs[0], inputs[1].shape[1]
    if len(x.shape) != 3 or x.shape[1] != 1 or x.shape[2] != inputs[1].shape[2]:
        raise ValueError(f"a sequence of shape {x.shape} does not fit weights of {inputs[1].shape}")
    return ((x.shape[0], 1, 1, units) if attrs.result == "steps" else (1, 1, units),)


def reference(attrs: RecurrentAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x int8 [time, 1, features] -> int8 [time, 1, 1, units] or [1, 1, units]."""
    x, weights, recurrent, scales, biases, first = (np.asarray(a, np.int64) for a in arrays if a is not None)
    hidden, cell = first[0], first[-1]

    def of_input(gate: int, row: Array) -> Array:
        """With the gate's bias."""
        sums = multiply_by_quantized_multiplier(weights[gate] @ row, scales[gate, :, 0], scales[gate, :, 1])
        return np.asarray(sums + biases[gate])

    def of_state(gate: int, state: Array) -> Array:
        return multiply_by_quantized_multiplier(recurrent[gate] @ state, scales[gate, :, 2], scales[gate, :, 3])

    def limited(sums: Array) -> Array:
        return np.clip(sums, -attrs.limit, attrs.limit)

    steps = []
    rows = x.reshape(x.shape[0], -1) - attrs.input_zero_point
    for row in rows[::-1] if attrs.reverse else rows:
        count = min(len(weights), 3 if attrs.kind == "LSTM" else 2)
        gates = [sigmoid16(3 * limited(of_input(g, row) + of_state(g, hidden))) for g in range(count)]
        if attrs.kind == "RNN":
            hidden = tanh16(3 * limited(of_input(0, row) + of_state(0, hidden)))
        elif attrs.kind == "LSTM":
            new = tanh16(3 * limited(of_input(3, row) + of_state(3, hidden)))
            cell = multiply_q15(gates[2], cell) + multiply_q15(gates[0], new)
            hidden = multiply_q15(gates[1], tanh16((3 * np.clip(cell, -MOST_CELL, MOST_CELL) + 4) >> 3))
        else:
            if attrs.before:
                state = multiply_q15(gates[1], limited(of_state(2, hidden) + biases[3]))
            else:
                state = of_state(2, multiply_q15(gates[1], hidden))
            new = tanh16(3 * limited(of_input(2, row) + state))
            hidden = new + multiply_q15(gates[0], hidden - new)
        steps.append(hidden)
    results = {"steps": steps[::-1] if attrs.reverse else steps, "last": [hidden], "cell": [cell]}
    kept = np.stack(results[attrs.result])
    out = multiply_by_quantized_multiplier(kept, *attrs.out) + attrs.output_zero_point
    shape = (x.shape[0], 1, 1, -1) if attrs.result == "steps" else (1, 1, -1)
    return (np.clip(out, -128, 127).astype(np.int8).reshape(shape),)


def cost(node: Node, graph: Graph) -> Cost:
    """Every gate's products over input and hidden state, a step."""
    return Cost(graph.tensors[node.inputs[0]].shape[0] * sum(graph.tensors[n].elements for n in node.inputs[1:3]))


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One row whose pixels are the steps, in the order in which they are computed."""
    attrs: RecurrentAttrs = node.attrs
    steps, _, features = graph.tensors[node.inputs[0]].shape
    weights, recurrent, scales, biases, first = (graph.const(n) for n in node.inputs[1:])
    units = weights.shape[1]
    zero = -attrs.input_zero_point * weights.astype(np.int64).sum(2)
    tables = (
        Table("weights", "int8_t", weights.reshape(-1)),
        Table("recurrent", "int8_t", recurrent.reshape(-1)),
        Table("zero", "int32_t", zero.astype(np.int32).reshape(-1)),
        Table("scales", "int32_t", scales.reshape(-1)),
        Table("bias", "int32_t", biases.reshape(-1)),
        Table("first", "int32_t", first.reshape(-1)),
        Table("sigmoid", "int16_t", sigmoid16_table()),
    )
    params = {
        "kind": attrs.kind,
        "steps": steps,
        "features": features,
        "units": units,
        "reverse": attrs.reverse,
        "last": attrs.result != "steps",
        "cell": attrs.result == "cell",
        "before": attrs.before,
        "limit": attrs.limit,
        "by_out": attrs.out,
        "out_zp": attrs.output_zero_point,
    }
    width = steps if attrs.result == "steps" else 1
    rows = (Rows(0, steps * features, 1),)
    return (Call("recurrent", params, tables, rows, 1, width, units, width * units, units, whole_channels=True),)


def int8_sequence(node: Node, graph: Graph) -> str | None:
    """Input and output are int8, everything else is constant."""
    for name in (node.inputs[0], *node.outputs):
        if graph.tensors[name].dtype.value != "int8":
            return f"tensor {name!r} is {graph.tensors[name].dtype.value}"
    found = [n for n in node.inputs[1:] if graph.tensors[n].data is None]
    return f"tensor {found[0]!r} is computed at run time" if found else None


OPERATOR = Operator(
    name="recurrent",
    summary="LSTM, GRU, RNN over one sequence (ONNX)",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(int8_sequence,),
    onnx=KINDS,
    from_onnx=from_onnx,
)
