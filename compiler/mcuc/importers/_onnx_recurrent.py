"""Handlers of LSTM, GRU and RNN: directions, gates and initial states resolved to one canonical node a direction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mcuc.importers._onnx_nodes import Result, broken, dtype_of, finish, goal_of, real_input
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import Goal, dequantize
from mcuc.importers._onnx_state import State, build, constant_of, need, optional, refuse, unique
from mcuc.importers._onnx_values import Value, plain
from mcuc.ir import Array, Tensor
from mcuc.ops.recurrent.attrs import GATES, SATURATED

ACTIVATIONS = {"GRU": ["sigmoid", "tanh"], "LSTM": ["sigmoid", "tanh", "tanh"], "RNN": ["tanh"]}
RESULTS = ("steps", "last", "cell")  # by output
MOST_SEQUENCES = 16
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def on_recurrent(state: State, node: FileNode) -> Result:
    """Y, Y_h and Y_c, those of them that are used, each by a node of its own for every direction and sequence."""
    x = real_input(state, node, 0)
    reversals = _directions(node)
    _plain_only(state, node, len(reversals))
    if len(x.shape) != 3 or not 0 < x.shape[1] <= MOST_SEQUENCES:
        raise refuse("unsupported-operator", f"{node.kind} on a value of shape {x.shape}", node.where,
                     f"[time, sequences, features] with at most {MOST_SEQUENCES} sequences, best with one")
    sequences = _sequences(state, node, x)
    parts = [[_options(state, node, d, reverse, x.shape[2], b) for d, reverse in enumerate(reversals)]
             for b in range(len(sequences))]
    wanted = [i for i, name in enumerate(node.outputs) if name and (state.consumers.get(name) or _is_end(state, name))]
    if not wanted:
        raise broken(node, "none of its outputs is used")
    if len(wanted) > 1:
        state.notes.append(f"{node.where}: {len(wanted)} of its outputs are used, and each computes the layer anew")
    found: list[Value] = [x] * len(node.outputs)  # what nobody reads is never looked at
    for index in wanted:
        named = replace(node, outputs=(node.outputs[index],))
        found[index] = _output(state, named, sequences, parts, x, RESULTS[index], goal_of(state, named))
    return found


def _is_end(state: State, name: str) -> bool:
    return any(entry.name == name for entry in state.file.outputs)


def _sequences(state: State, node: FileNode, x: Value) -> list[Tensor]:
    """Each sequence of the input alone, [time, 1, features]."""
    tensor = need(state, x, (0, 1, 2), node.where)
    steps, count, features = x.shape
    if count == 1:
        return [tensor]
    found = []
    for b in range(count):
        out = Tensor(unique(state, f"{tensor.name}/{b}"), (), tensor.dtype, tensor.quant)
        cut = {"begin": [0, b, 0], "size": [steps, 1, features], "step": [1, 1, 1]}
        found.append(build(state, "Slice", (tensor,), cut, out, node.where))
    return found


def _output(state: State, node: FileNode, sequences: list[Tensor], parts: list[list[dict[str, Any]]], x: Value,
            result: str, goal: Goal) -> Value:
    """[time, directions, sequences, units] of every step, or [directions, sequences, units] behind the last one."""
    units = parts[0][0]["weights"].shape[1]
    shape = (x.shape[0], 1, 1, units) if result == "steps" else (1, 1, units)
    rows = []
    for tensor, directions in zip(sequences, parts, strict=True):
        made = []
        for options in directions:
            every = {**options, "result": result}
            made.append(finish(state, node, node.kind, (tensor,), every, shape, plain(shape), goal, (dtype_of(x),)))
        rows.append(_joined(state, node, made, len(shape) - 3, goal))
    return _joined(state, node, rows, len(shape) - 2, goal)


def _joined(state: State, node: FileNode, parts: list[Value], axis: int, goal: Goal) -> Value:
    if len(parts) == 1:
        return parts[0]
    shape = tuple(d * len(parts) if i == axis else d for i, d in enumerate(parts[0].shape))
    tensors, types, same = [v.tensor for v in parts], [dtype_of(v) for v in parts], Goal(goal.params)
    return finish(state, node, "Concat", tensors, {"axis": axis}, shape, plain(shape), same, types, clamps=True)


def _directions(node: FileNode) -> tuple[bool, ...]:
    name = node.attrs.get("direction", "forward")
    if name not in DIRECTIONS:
        raise broken(node, f"direction {name!r}")
    return DIRECTIONS[name]


def _plain_only(state: State, node: FileNode, directions: int) -> None:
    """Refuses what the integer form has no counterpart of."""
    names = [str(a).lower() for a in node.attrs.get("activations", ACTIVATIONS[node.kind] * directions)]
    checks = {
        f"activations {names}": names != ACTIVATIONS[node.kind] * directions,
        "layout 1 (batch first)": int(node.attrs.get("layout", 0)) != 0,
        "a coupled input and forget gate": int(node.attrs.get("input_forget", 0)) != 0,
        "peepholes": node.kind == "LSTM" and optional(state, node, 7) is not None,
    }
    for what, found in checks.items():
        if found:
            raise refuse("unsupported-operator", f"{node.kind} with {what} is not supported", node.where,
                         "use the layer's default form")
    lengths = optional(state, node, 4)
    if lengths is not None:
        steps = state.values[node.inputs[0]].shape[0]
        if any(int(n) != steps for n in constant_of(state, node, 4).reshape(-1)):
            raise refuse("unsupported-operator", f"{node.kind} with sequences shorter than the input", node.where,
                         "leave sequence_lens out; cut the input to the length that is used")


def _options(
    state: State, node: FileNode, direction: int, reverse: bool, features: int, sequence: int
) -> dict[str, Any]:
    """Of one direction and sequence, as ops.recurrent reads them."""
    gates = GATES[node.kind]
    units = int(node.attrs.get("hidden_size", 0))
    recurrent, recurrent_scales = _weights(state, node, 2, direction, gates, units)
    weights, weight_scales = _weights(state, node, 1, direction, gates, features)
    units = recurrent.shape[1]
    if weights.shape[1] != units or recurrent.shape[2] != units:
        raise broken(node, f"weights of {weights.shape} and {recurrent.shape}")
    bias = _bias(state, node, direction, gates, units)
    clip = float(node.attrs.get("clip", SATURATED))
    if not clip > 0:
        raise broken(node, f"its sums are clipped at {clip}")
    states = {k: _first(state, node, i, direction, units, sequence) for k, i in (("hidden", 5), ("cell", 6))}
    return {
        "weights": weights,
        "recurrent": recurrent,
        "weight_scales": weight_scales,
        "recurrent_scales": recurrent_scales,
        "bias": bias,
        **states,
        "reverse": reverse,
        "before": node.kind == "GRU" and int(node.attrs.get("linear_before_reset", 0)) != 0,
        "clip": clip,
    }


def _weights(state: State, node: FileNode, index: int, direction: int, gates: int, width: int) -> tuple[Array, Array]:
    """int8 [gates, units, width] and a scale for each row: the file's own where it has symmetric int8, else made."""
    value = optional(state, node, index)
    array = constant_of(state, node, index)
    if value is None or array.ndim != 3 or direction >= array.shape[0] or array.shape[1] % gates or not array.size or (
            width > 0 and array.shape[2] != width):
        raise broken(node, f"weights of shape {array.shape}")
    rows = (gates, array.shape[1] // gates, array.shape[2])
    params = value.params
    if params is not None and array.dtype == np.int8 and not any(params.zero_point) and params.axis in (None, 0, 1):
        scale = np.array(params.scale, np.float32)
        by_row = scale if params.axis == 1 else scale[direction if params.axis == 0 else 0]
        return array[direction].reshape(rows), np.broadcast_to(by_row, rows[0] * rows[1]).reshape(rows[:2])
    real = dequantize(array, params) if params is not None and array.dtype != np.float32 else array
    real = np.asarray(real[direction], np.float32).reshape(rows)
    if not np.all(np.isfinite(real)):
        raise broken(node, "weights that are not finite")
    scales = np.maximum(np.abs(real).max(axis=2) / np.float32(127), np.float32(1e-12))
    note = f"{node.where}: float weights become int8, a scale for each row"
    state.notes += [] if note in state.notes else [note]
    return np.clip(np.rint(real / scales[..., None]), -127, 127).astype(np.int8), scales


def _bias(state: State, node: FileNode, direction: int, gates: int, units: int) -> Array:
    """float [gates, units], input's and hidden state's added; of a GRU's last gate the latter apart, in a row more."""
    rows = gates + (node.kind == "GRU")
    if optional(state, node, 3) is None:
        return np.zeros((rows, units), np.float32)
    both = _real(state, node, 3)
    if both.ndim != 2 or direction >= both.shape[0] or both.shape[1] != 2 * gates * units:
        raise broken(node, f"biases of shape {both.shape}")
    first, second = both[direction].reshape(2, gates, units)
    if node.kind != "GRU":
        return np.asarray(first + second)
    apart = int(node.attrs.get("linear_before_reset", 0)) != 0
    last = first[2] if apart else first[2] + second[2]
    return np.stack([*(first[:2] + second[:2]), last, second[2] if apart else np.zeros(units, np.float32)])


def _first(state: State, node: FileNode, index: int, direction: int, units: int, sequence: int) -> Array:
    if optional(state, node, index) is None or (index == 6 and node.kind != "LSTM"):
        return np.zeros(units, np.float32)
    if state.values[node.inputs[index]].array is None:
        raise refuse(
            "not-constant",
            f"{node.kind} starts from a state that is given or computed at run time",
            node.where,
            "leave the first state out, which is zero then; to carry one from run to run, export a cell of one step "
            f"(torch.nn.{node.kind}Cell) with its state as an input and an output",
        )
    given = _real(state, node, index)
    if given.ndim != 3 or direction >= given.shape[0] or sequence >= given.shape[1] or given.shape[2] != units:
        raise broken(node, f"an initial state of shape {given.shape}")
    return np.asarray(given[direction, sequence])


def _real(state: State, node: FileNode, index: int) -> Array:
    """A constant as float32. Raises McucError where it is computed at run time."""
    value, array = optional(state, node, index), constant_of(state, node, index)
    if value is not None and value.params is not None and array.dtype != np.float32:
        return dequantize(array, value.params)
    return np.asarray(array, np.float32)
