"""Handlers of ONNX operators that work along axes: pools, means, softmax, concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcuc.importers._onnx_choice import settled
from mcuc.importers._onnx_fold import axes_of
from mcuc.importers._onnx_moves import IDENTITY, constants_of
from mcuc.importers._onnx_nodes import (
    PROBABILITY,
    Result,
    broken,
    dtype_of,
    finish,
    given,
    goal_of,
    in_two,
    normal_axis,
    of_rank,
    quantized_input,
    spatial,
    transposed_value,
    window,
    windowed_size,
)
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import Goal
from mcuc.importers._onnx_state import (
    State,
    build,
    constant,
    need,
    not_quantized,
    optional,
    quant_of,
    refuse,
    runtime,
    stored_order,
    unique,
)
from mcuc.importers._onnx_values import Layout, Value, apply, channels_last
from mcuc.ir import DType, Tensor


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


def _one_image(state: State, x: Value, node: FileNode) -> Tensor:
    """An image as NHWC; pools take one at a time."""
    tensor = spatial(state, x, node)
    if x.shape[0] != 1:
        raise refuse(
            "unsupported-operator",
            f"{node.kind} of {x.shape[0]} images at once is not supported",
            node.where,
            "export the model with batch 1",
        )
    return tensor


def _max_pool(state: State, node: FileNode, x: Value) -> Value:
    rank = len(x.shape)
    node, x = in_two(node, x)
    tensor = _one_image(state, x, node)
    size = (x.shape[2], x.shape[3])
    options = window(node, size, tuple(node.attrs.get("kernel_shape", ())))
    shape = (*x.shape[:2], *windowed_size(size, options))
    out = finish(
        state,
        node,
        "MaxPool",
        (tensor,),
        options,
        shape,
        channels_last(shape),
        Goal(x.params or IDENTITY),
        (dtype_of(x),),
    )
    return of_rank(replace(out, real=x.real, params=x.params), rank)


def _average_pool(state: State, node: FileNode, x: Value, goal: Goal) -> Value:
    rank = len(x.shape)
    node, x = in_two(node, x)
    tensor = _one_image(state, x, node)
    size = (x.shape[2], x.shape[3])
    options = {
        **window(node, size, tuple(node.attrs.get("kernel_shape", ()))),
        "count_include_pad": bool(node.attrs.get("count_include_pad", 0)),
    }
    shape = (*x.shape[:2], *windowed_size(size, options))
    out = finish(
        state, node, "AveragePool", (tensor,), options, shape, channels_last(shape), goal, (dtype_of(x),), clamps=True
    )
    return of_rank(out, rank)


def on_qlinear_average_pool(state: State, node: FileNode) -> Result:
    x = quantized_input(state, node, 0, given(state, node, 1))
    if int(node.attrs.get("channels_last", 0)):
        x = transposed_value(x, (0, 3, 1, 2))
    out = replace(_average_pool(state, node, x, Goal(given(state, node, 3))), real=False)
    return [transposed_value(out, (0, 2, 3, 1)) if int(node.attrs.get("channels_last", 0)) else out]


def on_global_pool(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    if node.kind == "GlobalMaxPool" and len(x.shape) in (3, 4):
        return [_max_pool(state, replace(node, attrs={"kernel_shape": x.shape[2:]}), x)]
    if not x.real or x.params is None:
        raise not_quantized(node.inputs[0], node.where)
    if len(x.shape) < 3:
        raise broken(node, f"a value of shape {x.shape}")
    if node.kind == "GlobalMaxPool":
        largest = _mean(state, node, x, tuple(range(2, len(x.shape))), True, Goal(x.params), "ReduceMax")
        return [settled(state, node, largest, goal_of(state, node))]
    return [_mean(state, node, x, tuple(range(2, len(x.shape))), True, goal_of(state, node))]


def on_qlinear_global_average_pool(state: State, node: FileNode) -> Result:
    x = quantized_input(state, node, 0, given(state, node, 1))
    last = int(node.attrs.get("channels_last", 0))
    axes = tuple(range(1, len(x.shape) - 1)) if last else tuple(range(2, len(x.shape)))
    return [replace(_mean(state, node, x, axes, True, Goal(given(state, node, 3))), real=False)]


def on_reduce(state: State, node: FileNode) -> Result:
    """Reductions over any axes; the largest and the smallest are taken before they are requantized."""
    x = runtime(state, node)
    if not x.real or x.params is None:
        raise not_quantized(node.inputs[0], node.where)
    rank, goal, params = len(x.shape), goal_of(state, node), x.params
    raw = axes_of(node, constants_of(state, node))
    axes = tuple(range(rank)) if not raw else tuple(sorted({normal_axis(a, rank, node) for a in raw}))
    keep = bool(node.attrs.get("keepdims", 1))
    if not raw and int(node.attrs.get("noop_with_empty_axes", 0)):
        if node.kind in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"):
            return [settled(state, node, x, goal)]
        x, axes, keep = replace(x, shape=(*x.shape, 1)), (rank,), False  # each element is a sum of its own
    if node.kind in ("ReduceMax", "ReduceMin"):
        chosen = _mean(state, node, x, axes, keep, Goal(params), node.kind)
        return [settled(state, node, chosen, goal)]
    return [_mean(state, node, x, axes, keep, goal, node.kind)]


def on_arg(state: State, node: FileNode) -> Result:
    """ArgMax and ArgMin: indices, of 64 bits in the file, of 32 here."""
    x = runtime(state, node)
    axis = normal_axis(int(node.attrs.get("axis", 0)), len(x.shape), node)
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    kept = tuple(1 if i == axis else d for i, d in enumerate(x.shape))
    options = {"axis": perm.index(axis), "last": bool(node.attrs.get("select_last_index", 0)), "keep_dims": True}
    layout = Layout(kept, perm)
    out = Tensor(unique(state, node.outputs[0]), layout.stored, DType.INT32)
    made = build(state, node.kind, (tensor,), options, out, node.where)
    shape = kept if int(node.attrs.get("keepdims", 1)) else tuple(d for i, d in enumerate(kept) if i != axis)
    return [Value(shape, None, made, layout)]


def _mean(
    state: State, node: FileNode, x: Value, axes: Sequence[int], keep: bool, goal: Goal, kind: str = "ReduceMean"
) -> Value:
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    stored_axes = tuple(sorted(perm.index(a) for a in axes))
    kept_shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
    shape = kept_shape if keep else tuple(d for i, d in enumerate(x.shape) if i not in axes)
    out = finish(
        state,
        node,
        kind,
        (tensor,),
        {"axes": stored_axes, "keep_dims": True},
        kept_shape,
        Layout(kept_shape, perm),
        goal,
        (dtype_of(x),),
        clamps=kind in ("ReduceMean", "ReduceSum"),
    )
    return replace(out, shape=shape)


def on_softmax(state: State, node: FileNode) -> Result:
    x = runtime(state, node)
    if not x.real:
        raise not_quantized(node.inputs[0], node.where)
    fallback = PROBABILITY if node.kind == "Softmax" else None
    return [_softmax(state, node, x, goal_of(state, node, fallback), node.kind)]


def _softmax(state: State, node: FileNode, x: Value, goal: Goal, kind: str = "Softmax") -> Value:
    rank = len(x.shape)
    axis = normal_axis(int(node.attrs.get("axis", -1)), rank, node)
    perm = [p for p in stored_order(x) if p != axis] + [axis]
    tensor = need(state, x, perm, node.where)
    return finish(state, node, kind, (tensor,), {}, x.shape, Layout(x.shape, tuple(perm)), goal, (dtype_of(x),))


def on_qlinear_softmax(state: State, node: FileNode) -> Result:
    x = quantized_input(state, node, 0, given(state, node, 1))
    return [replace(_softmax(state, node, x, Goal(given(state, node, 3))), real=False)]


def on_concat(state: State, node: FileNode) -> Result:
    parts = [optional(state, node, i) for i in range(len(node.inputs))]
    known = next((p.params for p in parts if p is not None and p.params is not None), None)
    values = []
    for p in parts:
        if p is not None and p.array is not None and not p.real and p.params is None and known is not None:
            p = replace(p, params=known if str(p.array.dtype) == known.dtype else None)  # a constant among integers
        if p is None or p.params is None:
            raise not_quantized(node.inputs[0], node.where)
        values.append(p)
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
            tensors.append(
                constant(state, f"{node.outputs[0]}/part", apply(value.array, Layout(value.shape, perm)), value.params)
            )
        else:
            tensors.append(
                replace(
                    need(state, value, perm, node.where), quant=None if value.params is None else quant_of(value.params)
                )
            )
    shape = tuple(sum(v.shape[axis] for v in values) if i == axis else d for i, d in enumerate(lead.shape))
    return finish(
        state,
        node,
        "Concat",
        tensors,
        {"axis": perm.index(axis)},
        shape,
        Layout(shape, perm),
        goal,
        [dtype_of(v) for v in values],
        clamps=True,
    )


def on_qlinear_concat(state: State, node: FileNode) -> Result:
    values = [quantized_input(state, node, i, given(state, node, i + 1)) for i in range(2, len(node.inputs) - 2, 3)]
    if not values:
        raise broken(node, "no inputs")
    return [replace(_concat(state, node, values, int(node.attrs["axis"]), Goal(given(state, node, 0))), real=False)]
