"""Long short-term memory over a sequence, with int8 (or int16) hidden and int16 cell state kept from run to run.

Inputs: x, four weights over it, four over the hidden state, four biases (each in the order of GATES), hidden and cell
state. Outputs: the hidden state of every step, and both states as the last step leaves them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.kernels._base import Call, Rows, Table
from mcuc.numerics import INT32_MAX, multiply_by_quantized_multiplier
from mcuc.numerics16 import gate16, sigmoid16, sigmoid16_table, tanh16, times_three
from mcuc.ops._base import Cost, Operator, Shape
from mcuc.ops.lstm.attrs import LstmAttrs
from mcuc.ops.lstm.tflite import from_tflite, to_tflite

CELL = 2  # the gate with tanh


def infer(attrs: LstmAttrs, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """The sequence with the units in place of the features, and the states' own shapes."""
    x, weights, hidden, cell = inputs[0], inputs[1], inputs[13], inputs[14]
    if len(x.shape) != 3 or x.shape[2] != weights.shape[1]:
        raise ValueError(f"a sequence of shape {x.shape} does not fit weights of {weights.shape}")
    return (*x.shape[:2], weights.shape[0]), hidden.shape, cell.shape


def reference(attrs: LstmAttrs, arrays: Sequence[Array | None]) -> tuple[Array, ...]:
    """x int8 or int16 [1, time, features] or [time, 1, features] -> hidden state of each step, hidden, cell int16."""
    given = [a for a in arrays if a is not None]
    assert len(given) == 15
    x, weights, recurrent, biases = given[0], given[1:5], given[5:9], given[9:13]
    hidden, cell = given[13].astype(np.int64).reshape(-1), given[14].astype(np.int64).reshape(-1)
    info, steps = np.iinfo(x.dtype), []
    for row in x.astype(np.int64).reshape(-1, x.shape[2]) - attrs.input_zero_point:
        state = hidden - attrs.hidden_zero_point
        gates = []
        for g in range(4):
            over_input, over_hidden = weights[g].astype(np.int64) @ row, recurrent[g].astype(np.int64) @ state
            sums = 3 * gate16(over_input + biases[g], attrs.by_input[g], over_hidden, attrs.by_hidden[g], attrs.wide)
            gates.append(tanh16(sums) if g == CELL else sigmoid16(sums))
        cell = gate16(gates[1] * cell, attrs.forget_cell, gates[0] * gates[2], attrs.input_cell)
        cell = np.clip(cell, -attrs.clip, attrs.clip) if attrs.clip else cell
        squashed = tanh16(times_three(cell, attrs.tanh_shift))
        out = multiply_by_quantized_multiplier(squashed * gates[3], *attrs.hidden)
        hidden = np.clip(out + attrs.hidden_zero_point, info.min, info.max)
        steps.append(hidden)
    whole = np.stack(steps).astype(x.dtype).reshape(*x.shape[:2], -1)
    return whole, hidden.astype(x.dtype).reshape(given[13].shape), cell.astype(np.int16).reshape(given[14].shape)


def cost(node: Node, graph: Graph) -> Cost:
    """Four products over input and hidden state a step."""
    x = graph.tensors[node.inputs[0]]
    units, features = graph.tensors[node.inputs[1]].shape
    return Cost(x.elements // features * 4 * units * (features + units))


def lower(node: Node, graph: Graph) -> tuple[Call, ...]:
    """One row a step. Zero points go into the biases: what the sums have in common is added once."""
    attrs: LstmAttrs = node.attrs
    x = graph.tensors[node.inputs[0]]
    weights, recurrent, biases = ([graph.const(n) for n in node.inputs[k : k + 4]] for k in (1, 5, 9))
    units, features = weights[0].shape
    folded = [b - attrs.input_zero_point * w.astype(np.int64).sum(1) for b, w in zip(biases, weights, strict=True)]
    hidden = [-attrs.hidden_zero_point * w.astype(np.int64).sum(1) for w in recurrent]
    scales = [*attrs.by_input, *attrs.by_hidden, attrs.forget_cell, attrs.input_cell, attrs.hidden]
    tables = (
        Table("weights", "int8_t", np.concatenate([w.reshape(-1) for w in weights])),
        Table("recurrent", "int8_t", np.concatenate([w.reshape(-1) for w in recurrent])),
        Table("bias", "int32_t", _halves(np.concatenate(folded)) if attrs.wide else _int32([*folded, *hidden])),
        Table("sigmoid", "int16_t", sigmoid16_table()),
    )
    params = {
        "kind": "lstm16" if attrs.wide else "lstm",
        "features": features,
        "units": units,
        "zero_point": attrs.hidden_zero_point,
        "tanh_shift": attrs.tanh_shift,
        "clip": attrs.clip,
        "scales": [number for scale in scales for number in scale],
    }
    steps = x.elements // features
    size = x.dtype.bytes
    rows = (Rows(0, size * features, steps),)
    out = size * units
    return (Call("recurrent", params, tables, rows, steps, 1, units, out, out, whole_channels=True, keeps=2),)


def _int32(parts: Sequence[Array]) -> Array:
    return np.concatenate(parts).astype(np.int32)


def _halves(values: Array) -> Array:
    """64-bit values as pairs of words, the lower one first."""
    return np.ascontiguousarray(values.astype("<i8")).view("<i4").astype(np.int32)


def one_sequence(node: Node, graph: Graph) -> str | None:
    """One sequence at a time (batch 1)."""
    shape = graph.tensors[node.inputs[0]].shape
    batch = shape[1 if node.attrs.time_major else 0]
    return f"the batch is {batch}" if batch != 1 else None


def int8_with_int16_cell(node: Node, graph: Graph) -> str | None:
    """Weights are int8, input and hidden state int8 (or both int16), the cell state is int16."""
    x, bias = ("int16", "int64") if node.attrs.wide else ("int8", "int32")
    wanted = [x, *["int8"] * 8, *[bias] * 4, x, "int16"]
    for name, dtype in zip(node.inputs, wanted, strict=True):
        if graph.tensors[name].dtype.value != dtype:
            return f"tensor {name!r} is {graph.tensors[name].dtype.value}"
    return None


def sums_fit(node: Node, graph: Graph) -> str | None:
    """No sum of products and bias leaves 32 bits (of int16 values, 48)."""
    most_x, most_sum = (32768, 1 << 47) if node.attrs.wide else (255, INT32_MAX)
    for k in range(4):
        weights, recurrent, bias = (graph.tensors[node.inputs[i + k]].data for i in (1, 5, 9))
        if weights is None or recurrent is None or bias is None:
            return "a weight or bias is computed at run time"
        most = most_x * np.abs(weights.astype(np.int64)).sum(1) + np.abs(bias.astype(np.float64))
        if max(float(most.max()), most_x * int(np.abs(recurrent.astype(np.int64)).sum(1).max())) > most_sum:
            return f"a sum of {node.name} does not fit"
    return None


OPERATOR = Operator(
    name="lstm",
    summary="long short-term memory with kept states",
    infer=infer,
    reference=reference,
    cost=cost,
    lower=lower,
    limits=(one_sequence, int8_with_int16_cell, sums_fit),
    tflite=("UNIDIRECTIONAL_SEQUENCE_LSTM",),
    from_tflite=from_tflite,
    to_tflite=to_tflite,
)
