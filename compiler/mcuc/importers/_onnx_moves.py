"""Handlers of ONNX operators that change a value's shape, order or type: reshapes, slices, splits, casts."""

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
    normal_axis,
    transposed_value,
)
from mcuc.importers._onnx_proto import DTYPES, MAX_ELEMENTS, FileNode
from mcuc.importers._onnx_quant import output_tensor
from mcuc.importers._onnx_state import (
    State,
    build,
    constant_of,
    need,
    quant_of,
    refuse,
    runtime,
    stored_order,
    unique,
)
from mcuc.importers._onnx_values import Layout, Params, Value, plain
from mcuc.ir import Array, DType, Tensor

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


def on_size(state: State, node: FileNode) -> Result:
    return [Value((), np.array(prod(state.values[node.inputs[0]].shape), np.int64))]


def on_eye_like(state: State, node: FileNode) -> Result:
    """Of the input only the shape counts."""
    shape, k = state.values[node.inputs[0]].shape, int(node.attrs.get("k", 0))
    if len(shape) != 2 or prod(shape) > MAX_ELEMENTS:
        raise broken(node, f"a value of shape {shape}")
    array = np.eye(*shape, k, dtype=DTYPES[int(node.attrs.get("dtype", 1))])
    return [Value(shape, array)]


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
        if axes == () and 1 in x.shape:
            raise refuse(
                "unsupported-operator",
                "Squeeze by an empty list of axes: ONNX keeps the shape, ONNX Runtime drops every axis of 1",
                node.where,
                "name the axes, or leave the input out",
            )
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
        if len(added) != len(axes):
            raise broken(node, f"axes {axes[:8]} name one axis twice")
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
    return [sliced(state, node, x, ranges, node.outputs[0])]


def sliced(state: State, node: FileNode, x: Value, ranges: Sequence[range], name: str) -> Value:
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


def evenly_spaced(places: Array) -> range | None:
    """Places as a range, None where they are none."""
    flat = [int(i) for i in places]
    step = flat[1] - flat[0] if len(flat) > 1 else 1
    if step == 0 or any(b - a != step for a, b in itertools.pairwise(flat)):
        return None
    return range(flat[0], flat[-1] + (1 if step > 0 else -1), step)


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
        results.append(sliced(state, node, x, ranges, name))
        at += size
    return results


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
    if (kind is DType.BOOL and to in (INT32, INT64)) or (kind is DType.INT32 and to == BOOL):
        return [cast(state, node, x, DType.INT32 if kind is DType.BOOL else DType.BOOL)]
    what = "integers" if kind is DType.INT32 else "truth values" if kind is DType.BOOL else "real values"
    goal = {FLOAT: "float32", INT32: "int32", INT64: "int64", BOOL: "bool"}.get(to, f"type {to} of ONNX")
    raise refuse(
        "unsupported-operator",
        f"Cast of {what} to {goal} at run time is not supported",
        node.where,
        "give the network what the cast computes as an input of its own: a mask as bool, numbers as float32"
        if kind is DType.INT32
        else "leave the cast to the caller, or compare (x > 0.5), which gives truth values",
    )


def cast(state: State, node: FileNode, x: Value, dtype: DType) -> Value:
    """A run-time value as integers or truth values."""
    assert x.tensor is not None
    out = Tensor(unique(state, node.outputs[0]), x.tensor.shape, dtype)
    return replace(x, tensor=build(state, "Cast", (x.tensor,), {}, out, node.where))
