"""Handlers of normalisations over the last axes: LayerNormalization, RMSNormalization, LpNormalization."""

from __future__ import annotations

from math import sqrt

import numpy as np

from mcuc.importers._onnx_nodes import Result, broken, dtype_of, finish, goal_of, normal_axis, real_input
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import dequantize
from mcuc.importers._onnx_state import State, constant_of, need, optional, refuse, stored_order
from mcuc.importers._onnx_values import Layout, Value
from mcuc.ir import Array


def on_layer_norm(state: State, node: FileNode) -> Result:
    """Over all axes from `axis` on, with a factor and an offset for each element."""
    outside = {entry.name for entry in state.file.outputs}
    if any(name and (state.consumers.get(name) or name in outside) for name in node.outputs[1:]):
        raise refuse(
            "unsupported-operator",
            f"{node.kind} with its mean or deviation as an output is not supported",
            node.where,
            "use the normalised values only",
        )
    x = real_input(state, node, 0)
    first = normal_axis(int(node.attrs.get("axis", -1)), len(x.shape), node)
    kind = "LayerNormalization" if node.kind == "LayerNormalization" else "RMSNormalization"
    beta = _real(state, node, 2, x.shape[first:]) if kind == "LayerNormalization" and optional(state, node, 2) else None
    gamma = _real(state, node, 1, x.shape[first:])
    return [_normalised(state, node, kind, x, first, float(node.attrs.get("epsilon", 1e-5)), gamma, beta)]


def on_lp_normalization(state: State, node: FileNode) -> Result:
    """The second norm: over the root mean square, less the root of how many there are."""
    if int(node.attrs.get("p", 2)) != 2:
        raise refuse(
            "unsupported-operator", f"{node.kind} with p = {node.attrs['p']} is not supported", node.where, "use p = 2"
        )
    x = real_input(state, node, 0)
    axis = normal_axis(int(node.attrs.get("axis", -1)), len(x.shape), node)
    count = x.shape[axis]
    gamma = np.full(count, 1 / sqrt(max(1, count)))
    return [_normalised(state, node, "RMSNormalization", x, axis, 0.0, gamma, None, last=axis)]


def on_group_norm(state: State, node: FileNode) -> Result:
    """InstanceNormalization and GroupNormalization: channels first, each group of them with all positions a row."""
    x = real_input(state, node, 0)
    if len(x.shape) < 3:
        raise broken(node, f"a value of shape {x.shape}: batch, channels and positions are needed")
    batch, channels = x.shape[:2]
    groups = channels if node.kind == "InstanceNormalization" else int(node.attrs.get("num_groups", 0))
    if groups < 1 or channels % groups:
        raise broken(node, f"{groups} groups of {channels} channels")
    single = node.kind == "GroupNormalization" and state.opset < 21  # factors were those of a group
    each = groups if single else channels
    gamma, beta = (np.tile(np.repeat(_real(state, node, i, (each,)), channels // each), batch) for i in (1, 2))
    options = {
        "groups": batch * groups,
        "epsilon": float(node.attrs.get("epsilon", 1e-5)),
        "gamma": gamma,
        "beta": beta,
    }
    perm = tuple(range(len(x.shape)))
    return [_finished(state, node, "LayerNormalization", x, perm, options)]


def _normalised(
    state: State,
    node: FileNode,
    kind: str,
    x: Value,
    first: int,
    epsilon: float,
    gamma: Array,
    beta: Array | None,
    last: int | None = None,
) -> Value:
    """last: the last axis that takes part, where it is not the value's last."""
    taken = list(range(first, len(x.shape) if last is None else last + 1))
    perm = [p for p in stored_order(x) if p not in taken] + taken
    options = {"axes": len(taken), "epsilon": epsilon, "gamma": gamma, "beta": beta}
    return _finished(state, node, kind, x, tuple(perm), options)


def _finished(
    state: State, node: FileNode, kind: str, x: Value, perm: tuple[int, ...], options: dict[str, object]
) -> Value:
    return finish(
        state,
        node,
        kind,
        (need(state, x, perm, node.where),),
        options,
        x.shape,
        Layout(x.shape, perm),
        goal_of(state, node),
        (dtype_of(x),),
    )


def _real(state: State, node: FileNode, index: int, shape: tuple[int, ...]) -> Array:
    """A constant operand as real numbers, spread over the row."""
    array = constant_of(state, node, index)
    value = optional(state, node, index)
    if value is not None and value.real and value.params is not None and array.dtype != np.float32:
        array = dequantize(array, value.params)
    trailing = shape[len(shape) - array.ndim :] if array.ndim else ()
    fits = array.ndim <= len(shape) and all(a in (1, n) for a, n in zip(array.shape, trailing, strict=True))
    if array.dtype.kind != "f" or not fits:
        raise broken(node, f"input {index} is {array.dtype} of shape {array.shape} for rows of shape {shape}")
    return np.asarray(np.broadcast_to(array, shape), np.float64).reshape(-1)
