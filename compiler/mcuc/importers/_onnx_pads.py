"""ONNX's Pad: by a number, or by elements of the value itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from mcuc.importers._onnx_moves import IDENTITY, sliced
from mcuc.importers._onnx_nodes import Result, broken, dtype_of, finish, goal_of, normal_axis, requantize_to
from mcuc.importers._onnx_proto import MAX_ELEMENTS, FileNode
from mcuc.importers._onnx_quant import FULL, Goal, output_tensor, quantize_one
from mcuc.importers._onnx_state import (
    State,
    build,
    constant_of,
    need,
    not_quantized,
    optional,
    refuse,
    runtime,
    stored_order,
)
from mcuc.importers._onnx_values import Layout, Value
from mcuc.ops._move import MOST_LISTED, padded_positions

_POSITIONS = ("edge", "reflect", "wrap")  # NumPy's pad calls them alike


def on_pad(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    rank = len(x.shape)
    pads = [int(p) for p in constant_of(state, node, 1).reshape(-1)]
    axes = (
        [normal_axis(int(a), rank, node) for a in constant_of(state, node, 3).reshape(-1)]
        if len(node.inputs) > 3 and node.inputs[3]
        else list(range(rank))
    )
    if len(pads) != 2 * len(axes) or max(map(abs, pads), default=0) > MAX_ELEMENTS:
        raise broken(node, f"pads {pads[:8]} of shape {x.shape}")
    around = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        around[axis] = (pads[i], pads[i + len(axes)])
    if any(min(pair) < 0 for pair in around):
        ranges = [range(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape, around, strict=True)]
        x = sliced(state, node, x, ranges, f"{node.outputs[0]}/cut")
        around = [(max(0, a), max(0, b)) for a, b in around]
    if prod(n + a + b for n, (a, b) in zip(x.shape, around, strict=True)) > MAX_ELEMENTS:
        raise broken(node, f"pads {pads[:8]} of shape {x.shape}")
    mode = node.attrs.get("mode", "constant")
    if mode == "constant":
        return [_pad_constant(state, node, x, around)]
    too_far = any(max(pair) > n - (mode == "reflect") for n, pair in zip(x.shape, around, strict=True))
    if any(n + sum(pair) > MOST_LISTED for n, pair in zip(x.shape, around, strict=True) if any(pair)):
        raise broken(node, f"pads {pads[:8]} of shape {x.shape}")
    if mode not in _POSITIONS or (mode != "edge" and too_far):
        raise refuse(
            "unsupported-operator",
            f"Pad in mode {mode!r} by {pads[:8]} of shape {x.shape} is not supported",
            node.where,
            "pad with a constant, or by less than the axis is long",
        )
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, around, strict=True))
    chosen = [
        padded_positions(n, *pair, mode) if any(pair) else None
        for n, pair in zip(x.shape, around, strict=True)
    ]
    out = replace(output_tensor(state, node.outputs[0], x.params or IDENTITY), quant=tensor.quant)
    made = build(state, "Take", (tensor,), {"indices": tuple(chosen[p] for p in perm)}, out, node.where)
    return [replace(x, shape=shape, tensor=made, layout=Layout(shape, perm))]


def _pad_constant(state: State, node: FileNode, x: Value, around: Sequence[tuple[int, int]]) -> Value:
    params = x.params
    fill = optional(state, node, 2)
    if params is None:
        raise not_quantized(node.inputs[0], node.where)
    value = 0.0
    if fill is not None:
        array = constant_of(state, node, 2)
        scale = np.float32(fill.params.scale[0]) if fill.params else np.float32(1)
        value = (
            float(array.reshape(-1)[0])
            if array.dtype.kind == "f" or fill.params is None
            else float((int(array.reshape(-1)[0]) - fill.params.zero_point[0]) * scale)
        )
    integer = quantize_one(value, params) if x.real else int(value) - params.shift
    goal = goal_of(state, node, params) if x.real else Goal(params)
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    shape = tuple(d + a + b for d, (a, b) in zip(x.shape, around, strict=True))
    options = {"pads": tuple(around[p] for p in perm), "value": integer}
    out = finish(
        state,
        node,
        "Pad",
        (tensor,),
        options,
        shape,
        Layout(shape, perm),
        replace(goal, params=params, clamp=FULL),
        (dtype_of(x),),
    )
    if not x.real:
        return replace(out, real=False)
    return requantize_to(state, node, out, goal)
