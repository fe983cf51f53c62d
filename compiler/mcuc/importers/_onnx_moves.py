"""Handlers of ONNX operators that move elements or work along axes: shapes, slices, pools, softmax, concat, resize."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from mcuc.importers._onnx_fold import axes_of, reshape_target
from mcuc.importers._onnx_nodes import (
    Result,
    broken,
    dtype_of,
    finish,
    goal_of,
    normal_axis,
    requantize_to,
    spatial,
    transposed_value,
)
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import FULL, Goal, output_tensor, quantize_one
from mcuc.importers._onnx_state import (
    State,
    build,
    constant_of,
    need,
    not_quantized,
    optional,
    quant_of,
    refuse,
    runtime,
    stored_order,
    unique,
)
from mcuc.importers._onnx_values import Layout, Params, Value, channels_last, plain
from mcuc.ir import DType, Tensor

IDENTITY = Params((1.0,), (0,), "int8")
FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9  # TensorProto.DataType


def constants_of(state: State, node: FileNode) -> list[Any]:
    values = [state.values[n] if n else None for n in node.inputs]
    return [None if v is None else v.array for v in values]


def on_identity(state: State, node: FileNode) -> Result:
    return [runtime(state, node)]


def on_shape(state: State, node: FileNode) -> Result:
    value = state.values[node.inputs[0]]
    rank = len(value.shape)
    start, end = int(node.attrs.get("start", 0)), int(node.attrs.get("end", rank))
    array = np.array(value.shape, np.int64)[slice(start, end)]
    return [Value(array.shape, array)]


def on_transpose(state: State, node: FileNode) -> Result:
    x = state.values[node.inputs[0]]
    rank = len(x.shape)
    perm = tuple(int(p) for p in node.attrs.get("perm", range(rank)[::-1]))
    if sorted(perm) != list(range(rank)):
        raise broken(node, f"perm {perm} of a value of shape {x.shape}")
    if x.array is not None:
        params = x.params
        if params is not None and params.axis is not None:
            params = replace(params, axis=perm.index(params.axis % rank))
        array = np.ascontiguousarray(x.array.transpose(perm))
        return [replace(x, shape=array.shape, array=array, params=params)]
    x = runtime(state, node)
    try:
        return [transposed_value(x, perm)]
    except KeyError:  # a reshape mixed the axes: bring the value into the file's order first
        order = tuple(range(rank))
        tensor = need(state, x, order, node.where)
        return [transposed_value(replace(x, tensor=tensor, layout=plain(x.shape)), perm)]


def on_reshape(state: State, node: FileNode) -> Result:
    """Reshape, Flatten, Squeeze, Unsqueeze: the stored bytes stay."""
    x = state.values[node.inputs[0]]
    arrays = constants_of(state, node)
    rank = len(x.shape)
    if node.kind == "Reshape":
        wanted = constant_of(state, node, 1).reshape(-1)
        shape = reshape_target(x.shape, [int(d) for d in wanted], bool(node.attrs.get("allowzero", 0)), node.where)
    elif node.kind == "Flatten":
        axis = int(node.attrs.get("axis", 1))
        axis = rank if axis == rank else normal_axis(axis, rank, node)
        shape = (prod(x.shape[:axis]), prod(x.shape[axis:]))
    elif node.kind == "Squeeze":
        axes = axes_of(node, arrays)
        dropped = (
            {i for i, d in enumerate(x.shape) if d == 1} if axes is None else {normal_axis(a, rank, node) for a in axes}
        )
        if any(x.shape[a] != 1 for a in dropped):
            raise broken(node, f"axes {sorted(dropped)} of shape {x.shape} are not all 1")
        shape = tuple(d for i, d in enumerate(x.shape) if i not in dropped)
    else:
        axes = axes_of(node, arrays) or ()
        total = rank + len(axes)
        added = {normal_axis(a, total, node) for a in axes}
        left = iter(x.shape)
        shape = tuple(1 if i in added else next(left) for i in range(total))
    if x.array is not None:
        if x.params is not None and x.params.axis is not None:
            raise refuse(
                "unsupported-quantization",
                f"{node.kind} of a constant quantized per channel",
                node.where,
                "reshape the weights before quantizing them",
            )
        return [replace(x, shape=shape, array=x.array.reshape(shape))]
    return [replace(runtime(state, node), shape=shape)]


def on_slice(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    rank = len(x.shape)
    a = constants_of(state, node)
    if node.kind == "Gather":
        return _gather(state, node, x)
    for i in range(1, len(node.inputs)):
        if node.inputs[i]:
            constant_of(state, node, i)
    starts, ends = a[1].reshape(-1), a[2].reshape(-1)
    axes = range(len(starts)) if len(a) < 4 or a[3] is None else a[3].reshape(-1)
    steps = np.ones(len(starts), np.int64) if len(a) < 5 or a[4] is None else a[4].reshape(-1)
    if not len(starts) == len(ends) == len(list(axes)) == len(steps) or (np.asarray(steps) == 0).any():
        raise broken(node, "starts, ends, axes and steps differ in length or a step is 0")
    ranges = [range(d) for d in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = normal_axis(int(axis), rank, node)
        ranges[n] = range(
            *slice(int(start), int(end) if int(step) > 0 or int(end) >= -x.shape[n] else None, int(step)).indices(
                x.shape[n]
            )
        )
    return [_sliced(state, node, x, ranges, node.outputs[0])]


def _sliced(state: State, node: FileNode, x: Value, ranges: Sequence[range], name: str) -> Value:
    if any(len(r) < 1 for r in ranges):
        raise broken(node, f"nothing is left of shape {x.shape}")
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    chosen = [ranges[p] for p in perm]
    shape = tuple(len(r) for r in ranges)
    if shape == x.shape and all(r.step > 0 for r in chosen):
        return x
    params = x.params or IDENTITY
    out = replace(output_tensor(state, name, params), quant=tensor.quant)
    options = {"begin": [r.start for r in chosen], "size": [len(r) for r in chosen], "step": [r.step for r in chosen]}
    made = build(state, "Slice", (tensor,), options, out, node.where)
    return replace(x, shape=shape, tensor=made, layout=Layout(shape, perm))


def _gather(state: State, node: FileNode, x: Value) -> Result:
    indices = constant_of(state, node, 1)
    axis = normal_axis(int(node.attrs.get("axis", 0)), len(x.shape), node)
    flat = [int(i) % x.shape[axis] if -x.shape[axis] <= int(i) < x.shape[axis] else -1 for i in indices.reshape(-1)]
    step = flat[1] - flat[0] if len(flat) > 1 else 1
    if not flat or -1 in flat or step == 0 or any(b - a != step for a, b in itertools.pairwise(flat)):
        raise refuse(
            "unsupported-operator",
            f"Gather of indices {flat[:8]} is not supported",
            node.where,
            "gather one index or evenly spaced ones",
        )
    ranges = [range(d) for d in x.shape]
    ranges[axis] = range(flat[0], flat[-1] + (1 if step > 0 else -1), step)
    value = _sliced(state, node, x, ranges, node.outputs[0])
    return [replace(value, shape=(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))]


def on_split(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    axis = normal_axis(int(node.attrs.get("axis", 0)), len(x.shape), node)
    count = len(node.outputs)
    if len(node.inputs) > 1 and node.inputs[1]:
        sizes = [int(s) for s in constant_of(state, node, 1).reshape(-1)]
    else:
        part = -(-x.shape[axis] // count)
        sizes = [part] * (count - 1) + [x.shape[axis] - part * (count - 1)]
    if len(sizes) != count or sum(sizes) != x.shape[axis] or min(sizes) < 1:
        raise broken(node, f"split {sizes} of shape {x.shape}")
    results, at = [], 0
    for size, name in zip(sizes, node.outputs, strict=True):
        ranges = [range(d) for d in x.shape]
        ranges[axis] = range(at, at + size)
        results.append(_sliced(state, node, x, ranges, name))
        at += size
    return results


def on_pad(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    rank = len(x.shape)
    mode = node.attrs.get("mode", "constant")
    if mode != "constant":
        raise refuse(
            "unsupported-operator", f"Pad in mode {mode!r} is not supported", node.where, "pad with a constant"
        )
    pads = [int(p) for p in constant_of(state, node, 1).reshape(-1)]
    axes = (
        [normal_axis(int(a), rank, node) for a in constant_of(state, node, 3).reshape(-1)]
        if len(node.inputs) > 3 and node.inputs[3]
        else list(range(rank))
    )
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0:
        raise broken(node, f"pads {pads} of shape {x.shape}")
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
    before_after = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        before_after[axis] = (pads[i], pads[i + len(axes)])
    goal = goal_of(state, node, params) if x.real else Goal(params)
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    shape = tuple(d + a + b for d, (a, b) in zip(x.shape, before_after, strict=True))
    options = {"pads": tuple(before_after[p] for p in perm), "value": integer}
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
        return [replace(out, real=False)]
    return [requantize_to(state, node, out, goal)]


def on_resize(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    tensor = spatial(state, x, node)
    for i in range(1, len(node.inputs)):
        if node.inputs[i]:
            constant_of(state, node, i)
    arrays = constants_of(state, node)
    scales = arrays[2] if len(arrays) > 2 and arrays[2] is not None and arrays[2].size else None
    sizes = arrays[3] if len(arrays) > 3 and arrays[3] is not None and arrays[3].size else None
    given = scales if sizes is None else sizes
    if node.attrs.get("axes") or given is None or (scales is not None and sizes is not None) or given.size != 4:
        raise refuse(
            "unsupported-operator", "Resize needs four scales or four sizes", node.where, "give sizes for N, C, H and W"
        )
    size = (x.shape[2], x.shape[3])
    if sizes is not None:
        target = tuple(int(s) for s in sizes.reshape(-1))
        factors = tuple(float(np.float32(t) / np.float32(d)) for t, d in zip(target[2:], size, strict=True))
    else:
        assert scales is not None
        factors = tuple(float(np.float32(s)) for s in scales.reshape(-1)[2:])
        target = (
            *(int(np.floor(s * d)) for s, d in zip(scales.reshape(-1)[:2], x.shape[:2], strict=True)),
            *(int(np.floor(np.float32(f) * np.float32(d))) for f, d in zip(factors, size, strict=True)),
        )
    if target[:2] != x.shape[:2] or min(target) < 1 or max(target) > 1 << 15 or not all(0 < f < 1e4 for f in factors):
        raise refuse(
            "unsupported-operator",
            f"Resize of {x.shape} to {target} is not supported",
            node.where,
            "resize height and width only",
        )
    options = {
        "size": target[2:],
        "scales": factors,
        "mode": node.attrs.get("mode", "nearest"),
        "coordinate": node.attrs.get("coordinate_transformation_mode", "half_pixel"),
        "nearest": node.attrs.get("nearest_mode", "round_prefer_floor"),
    }
    goal = goal_of(state, node, x.params) if x.real else Goal(x.params or IDENTITY)
    out = finish(
        state,
        node,
        "Resize",
        (tensor,),
        options,
        target,
        channels_last(target),
        Goal(x.params or IDENTITY),
        (dtype_of(x),),
    )
    if not x.real:
        return [replace(out, real=False, params=x.params)]
    return [requantize_to(state, node, out, goal)]


def on_cast(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    to = int(node.attrs.get("to", 0))
    kind = None if x.tensor is None else x.tensor.dtype
    if x.real and to == FLOAT:
        return [x]
    if (kind is DType.BOOL and to == BOOL) or (kind is DType.INT32 and to in (INT32, INT64)):
        return [x]
    if kind is DType.BOOL and to == FLOAT and x.tensor is not None:  # 0 and 1 are 0.0 and 1.0
        out = Tensor(unique(state, node.outputs[0]), x.tensor.shape, DType.INT8, quant_of(IDENTITY))
        return [replace(x, tensor=build(state, "Cast", (x.tensor,), {}, out, node.where), params=IDENTITY, real=True)]
    raise refuse(
        "unsupported-operator", "Cast at run time is not supported", node.where, "remove the cast or export without it"
    )
