"""Handlers of ONNX operators that move elements or work along axes: shapes, slices, pools, softmax, concat, resize."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from mcuc.importers._onnx_fold import axes_of, reshape_target
from mcuc.importers._onnx_nodes import (
    PROBABILITY,
    Result,
    broken,
    dtype_of,
    finish,
    given,
    goal_of,
    layout_of,
    normal_axis,
    quantized_input,
    requantize_to,
    spatial,
    transposed_value,
    window,
    windowed_size,
)
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import FULL, Goal, output_tensor, quantize_one
from mcuc.importers._onnx_state import (
    State,
    build,
    constant,
    constant_of,
    need,
    not_quantized,
    optional,
    quant_of,
    refuse,
    runtime,
    stored_order,
)
from mcuc.importers._onnx_values import Layout, Params, Value, apply, channels_last, plain

IDENTITY = Params((1.0,), (0,), "int8")


def _constants(state: State, node: FileNode) -> list[Any]:
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
    arrays = _constants(state, node)
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
        dropped = {i for i, d in enumerate(x.shape) if d == 1} if axes is None else {normal_axis(a, rank, node) for a in axes}
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
            raise refuse("unsupported-quantization", f"{node.kind} of a constant quantized per channel", node.where,
                         "reshape the weights before quantizing them")
        return [replace(x, shape=shape, array=x.array.reshape(shape))]
    return [replace(runtime(state, node), shape=shape)]


def on_slice(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    rank = len(x.shape)
    a = _constants(state, node)
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
        ranges[n] = range(*slice(int(start), int(end) if int(step) > 0 or int(end) >= -x.shape[n] else None, int(step)).indices(x.shape[n]))
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
    if not flat or -1 in flat or step == 0 or any(b - a != step for a, b in zip(flat, flat[1:], strict=False)):
        raise refuse("unsupported-operator", f"Gather of indices {flat[:8]} is not supported", node.where,
                     "gather one index or evenly spaced ones")
    ranges = [range(d) for d in x.shape]
    ranges[axis] = range(flat[0], flat[-1] + (1 if step > 0 else -1), step)
    value = _sliced(state, node, x, ranges, node.outputs[0])
    return [replace(value, shape=(*x.shape[:axis], *indices.shape, *x.shape[axis + 1:]))]


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
        raise refuse("unsupported-operator", f"Pad in mode {mode!r} is not supported", node.where, "pad with a constant")
    pads = [int(p) for p in constant_of(state, node, 1).reshape(-1)]
    axes = [normal_axis(int(a), rank, node) for a in constant_of(state, node, 3).reshape(-1)] if len(node.inputs) > 3 and node.inputs[3] \
        else list(range(rank))
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
        value = float(array.reshape(-1)[0]) if array.dtype.kind == "f" or fill.params is None else \
            float((int(array.reshape(-1)[0]) - fill.params.zero_point[0]) * scale)
    integer = quantize_one(value, params) if x.real else int(value) - params.shift
    before_after = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        before_after[axis] = (pads[i], pads[i + len(axes)])
    goal = goal_of(state, node, params) if x.real else Goal(params)
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    shape = tuple(d + a + b for d, (a, b) in zip(x.shape, before_after, strict=True))
    options = {"pads": tuple(before_after[p] for p in perm), "value": integer}
    out = finish(state, node, "Pad", (tensor,), options, shape, Layout(shape, perm), replace(goal, params=params, clamp=FULL), (dtype_of(x),))
    if not x.real:
        return [replace(out, real=False)]
    return [requantize_to(state, node, out, goal)]


def on_pool(state: State, node: FileNode) -> Result:
    """MaxPool and AveragePool, float as the file sees them or (MaxPool) on integers."""
    x = runtime(state, node)
    if node.kind != "MaxPool" and (not x.real or x.params is None):
        raise not_quantized(node.inputs[0], node.where)
    if len(node.outputs) > 1 and node.outputs[1]:
        raise refuse("unsupported-operator", "MaxPool with indices is not supported", node.where, "use the values only")
    if node.kind == "MaxPool":
        return [_max_pool(state, node, x)]
    return [_average_pool(state, node, x, goal_of(state, node))]


def _max_pool(state: State, node: FileNode, x: Value) -> Value:
    tensor = spatial(state, x, node)
    size = (x.shape[2], x.shape[3])
    options = window(node, size, tuple(node.attrs.get("kernel_shape", ())))
    shape = (*x.shape[:2], *windowed_size(size, options))
    out = finish(state, node, "MaxPool", (tensor,), options, shape, channels_last(shape), Goal(x.params or IDENTITY), (dtype_of(x),))
    return replace(out, real=x.real, params=x.params)


def _average_pool(state: State, node: FileNode, x: Value, goal: Goal) -> Value:
    tensor = spatial(state, x, node)
    size = (x.shape[2], x.shape[3])
    options = {**window(node, size, tuple(node.attrs.get("kernel_shape", ()))),
               "count_include_pad": bool(node.attrs.get("count_include_pad", 0))}
    shape = (*x.shape[:2], *windowed_size(size, options))
    return finish(state, node, "AveragePool", (tensor,), options, shape, channels_last(shape), goal, (dtype_of(x),), clamps=True)


def on_qlinear_average_pool(state: State, node: FileNode) -> Result:
    x = quantized_input(state, node, 0, given(state, node, 1))
    if int(node.attrs.get("channels_last", 0)):
        x = transposed_value(x, (0, 3, 1, 2))
    out = replace(_average_pool(state, node, x, Goal(given(state, node, 3))), real=False)
    return [transposed_value(out, (0, 2, 3, 1)) if int(node.attrs.get("channels_last", 0)) else out]


def on_global_pool(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    if node.kind == "GlobalMaxPool":
        if len(x.shape) != 4:
            raise broken(node, f"a value of shape {x.shape}")
        attrs = {"kernel_shape": x.shape[2:]}
        return [_max_pool(state, replace(node, attrs=attrs), x)]
    if not x.real:
        raise not_quantized(node.inputs[0], node.where)
    return [_mean(state, node, x, tuple(range(2, len(x.shape))), True, goal_of(state, node))]


def on_qlinear_global_average_pool(state: State, node: FileNode) -> Result:
    x = quantized_input(state, node, 0, given(state, node, 1))
    last = int(node.attrs.get("channels_last", 0))
    axes = tuple(range(1, len(x.shape) - 1)) if last else tuple(range(2, len(x.shape)))
    return [replace(_mean(state, node, x, axes, True, Goal(given(state, node, 3))), real=False)]


def on_reduce_mean(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    if not x.real:
        raise not_quantized(node.inputs[0], node.where)
    rank = len(x.shape)
    raw = axes_of(node, _constants(state, node))
    axes = tuple(range(rank)) if not raw else tuple(sorted({normal_axis(a, rank, node) for a in raw}))
    return [_mean(state, node, x, axes, bool(node.attrs.get("keepdims", 1)), goal_of(state, node))]


def _mean(state: State, node: FileNode, x: Value, axes: Sequence[int], keep: bool, goal: Goal) -> Value:
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    stored_axes = tuple(sorted(perm.index(a) for a in axes))
    kept_shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
    shape = kept_shape if keep else tuple(d for i, d in enumerate(x.shape) if i not in axes)
    out = finish(state, node, "ReduceMean", (tensor,), {"axes": stored_axes, "keep_dims": True}, kept_shape, Layout(kept_shape, perm), goal,
                 (dtype_of(x),), clamps=True)
    return replace(out, shape=shape)


def on_softmax(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    if not x.real:
        raise not_quantized(node.inputs[0], node.where)
    return [_softmax(state, node, x, goal_of(state, node, PROBABILITY))]


def _softmax(state: State, node: FileNode, x: Value, goal: Goal) -> Value:
    rank = len(x.shape)
    axis = normal_axis(int(node.attrs.get("axis", -1)), rank, node)
    perm = [p for p in stored_order(x) if p != axis] + [axis]
    tensor = need(state, x, perm, node.where)
    return finish(state, node, "Softmax", (tensor,), {}, x.shape, Layout(x.shape, tuple(perm)), goal, (dtype_of(x),))


def on_qlinear_softmax(state: State, node: FileNode) -> Result:
    x = quantized_input(state, node, 0, given(state, node, 1))
    return [replace(_softmax(state, node, x, Goal(given(state, node, 3))), real=False)]


def on_concat(state: State, node: FileNode) -> Result:
    parts = [optional(state, node, i) for i in range(len(node.inputs))]
    if any(p is None or p.params is None for p in parts):
        raise not_quantized(node.inputs[0], node.where)
    values = [p for p in parts if p is not None]
    integers = all(not v.real for v in values)
    if integers and any(v.params != values[0].params for v in values):
        raise broken(node, "integer parts of different quantization")
    goal = Goal(values[0].params or IDENTITY) if integers else goal_of(state, node)
    return [replace(_concat(state, node, values, int(node.attrs["axis"]), goal), real=not integers)]


def _concat(state: State, node: FileNode, values: Sequence[Value], raw_axis: int, goal: Goal) -> Value:
    rank = len(values[0].shape)
    axis = normal_axis(raw_axis, rank, node)
    lead = next((v for v in values if v.tensor is not None), values[0])
    perm = stored_order(lead) if lead.layout is not None else tuple(range(rank))
    tensors = []
    for value in values:
        if len(value.shape) != rank or any(value.shape[i] != lead.shape[i] for i in range(rank) if i != axis):
            raise broken(node, f"shapes {[v.shape for v in values]} along axis {axis}")
        if value.array is not None:
            tensors.append(constant(state, f"{node.outputs[0]}/part", apply(value.array, Layout(value.shape, perm)), value.params))
        else:
            tensors.append(replace(need(state, value, perm, node.where), quant=None if value.params is None else quant_of(value.params)))
    shape = tuple(sum(v.shape[axis] for v in values) if i == axis else d for i, d in enumerate(lead.shape))
    return finish(state, node, "Concat", tensors, {"axis": perm.index(axis)}, shape, Layout(shape, perm), goal,
                  [dtype_of(v) for v in values], clamps=True)


def on_qlinear_concat(state: State, node: FileNode) -> Result:
    values = [quantized_input(state, node, i, given(state, node, i + 1)) for i in range(2, len(node.inputs) - 2, 3)]
    if not values:
        raise broken(node, "no inputs")
    return [replace(_concat(state, node, values, int(node.attrs["axis"]), Goal(given(state, node, 0))), real=False)]


def on_resize(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    tensor = spatial(state, x, node)
    for i in range(1, len(node.inputs)):
        if node.inputs[i]:
            constant_of(state, node, i)
    arrays = _constants(state, node)
    scales = arrays[2] if len(arrays) > 2 and arrays[2] is not None and arrays[2].size else None
    sizes = arrays[3] if len(arrays) > 3 and arrays[3] is not None and arrays[3].size else None
    if node.attrs.get("axes") or (scales is None) == (sizes is None) or (scales if sizes is None else sizes).size != 4:
        raise refuse("unsupported-operator", "Resize needs four scales or four sizes", node.where, "give sizes for N, C, H and W")
    size = (x.shape[2], x.shape[3])
    if sizes is not None:
        target = tuple(int(s) for s in sizes.reshape(-1))
        factors = tuple(float(np.float32(t) / np.float32(d)) for t, d in zip(target[2:], size, strict=True))
    else:
        assert scales is not None
        factors = tuple(float(np.float32(s)) for s in scales.reshape(-1)[2:])
        target = (*(int(np.floor(s * d)) for s, d in zip(scales.reshape(-1)[:2], x.shape[:2], strict=True)),
                  *(int(np.floor(np.float32(f) * np.float32(d))) for f, d in zip(factors, size, strict=True)))
    if target[:2] != x.shape[:2] or min(target) < 1 or max(target) > 1 << 15 or not all(0 < f < 1e4 for f in factors):
        raise refuse("unsupported-operator", f"Resize of {x.shape} to {target} is not supported", node.where, "resize height and width only")
    options = {"size": target[2:], "scales": factors, "mode": node.attrs.get("mode", "nearest"),
               "coordinate": node.attrs.get("coordinate_transformation_mode", "half_pixel"),
               "nearest": node.attrs.get("nearest_mode", "round_prefer_floor")}
    goal = goal_of(state, node, x.params) if x.real else Goal(x.params or IDENTITY)
    out = finish(state, node, "Resize", (tensor,), options, target, channels_last(target),
                 Goal(x.params or IDENTITY), (dtype_of(x),))
    if not x.real:
        return [replace(out, real=False, params=x.params)]
    return [requantize_to(state, node, out, goal)]


def on_cast(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    if x.real and int(node.attrs.get("to", 0)) == 1:
        return [x]
    raise refuse("unsupported-operator", "Cast at run time is not supported", node.where, "remove the cast or export without it")
