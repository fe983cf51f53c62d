"""Handlers of ONNX operators that pick elements: gathers, blocks, tiles, and whatever a constant says of places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from mcuc.importers._onnx_fold import center_crop_pad, scattered
from mcuc.importers._onnx_moves import IDENTITY, evenly_spaced, sliced
from mcuc.importers._onnx_nodes import Result, broken, dtype_of, finish, goal_of, normal_axis
from mcuc.importers._onnx_proto import MAX_ELEMENTS, FileNode
from mcuc.importers._onnx_quant import Goal, output_tensor
from mcuc.importers._onnx_state import (
    State,
    build,
    constant,
    constant_of,
    need,
    not_quantized,
    quant_of,
    refuse,
    runtime,
    stored_order,
)
from mcuc.importers._onnx_values import Layout, Value, apply, plain
from mcuc.ir import Array, Tensor

MOST_PLACES = 1 << 21


def moved(
    state: State,
    node: FileNode,
    x: Value,
    kind: str,
    inputs: Sequence[Tensor],
    options: Mapping[str, Any],
    shape: Sequence[int],
    layout: Layout,
) -> Value:
    """The value that a node makes of x without changing a number: same integers, same scale."""
    out = replace(output_tensor(state, node.outputs[0], x.params or IDENTITY), dtype=inputs[0].dtype)
    out = replace(out, shape=layout.stored, quant=inputs[0].quant)
    made = build(state, kind, inputs, options, out, node.where)
    return replace(x, shape=tuple(shape), tensor=made, layout=layout)


def in_file_order(state: State, x: Value, where: str, shape: Sequence[int] | None = None) -> Tensor:
    """The value's elements as the file orders them, under another shape."""
    flat = x if shape is None else replace(x, shape=tuple(shape))
    return need(state, flat, tuple(range(len(flat.shape))), where)


def picked(state: State, node: FileNode, x: Value, places: Array, source: Tensor | None = None) -> Value:
    """The elements of x, or of a flat source of its integers, at places (flat, in the file's order); of their shape.

    Neighbours are picked together, in runs as long as all of them allow.
    """
    run = _run(places.reshape(-1), x.elements if source is None else source.elements)
    index = places.reshape(-1, run)[:, 0] // run
    count = (x.elements if source is None else source.elements) // run
    if source is None:
        data = in_file_order(state, x, node.where, (count, run))
    else:
        out = replace(source, name=f"{node.outputs[0]}/runs", shape=(count, run))
        data = build(state, "Reshape", (source,), {"shape": (count, run)}, out, node.where)
    indices = constant(state, f"{node.outputs[0]}/indices", index.astype(np.int64))
    value = moved(state, node, x, "Gather", (data, indices), {"axis": 0}, (len(index), run), plain((len(index), run)))
    return replace(value, shape=places.shape)


def _run(flat: Array, total: int) -> int:
    """The longest run in which all places come: consecutive, from a multiple of the run's length on."""
    most = int(np.gcd.reduce([flat.size, total]))
    for run in sorted((d for d in range(1, most + 1) if most % d == 0), reverse=True):
        rows = flat.reshape(-1, run)
        if (rows[:, 0] % run == 0).all() and (np.diff(rows, axis=1) == 1).all():
            return run
    return 1


def places_of(node: FileNode, x: Value) -> Array:
    """The flat place of every element of x in the file's order. Raises McucError where they are too many to list."""
    if x.elements > MOST_PLACES:
        raise broken(node, f"a value of {x.elements} elements picked one by one")
    return np.arange(x.elements).reshape(x.shape)


def on_gather(state: State, node: FileNode) -> Result:
    """By constants: a slice where they are evenly spaced."""
    raw = int(node.attrs.get("axis", 0))
    x = runtime(state, node)
    found = constant_of(state, node, 1)
    axis, extent = normal_axis(raw, len(x.shape), node), x.shape[normal_axis(raw, len(x.shape), node)]
    if found.size == 0 or found.dtype.kind != "i" or found.min() < -extent or found.max() >= extent:
        raise broken(node, f"indices outside an axis of {extent}, or none")
    places = found % extent
    spaced = evenly_spaced(places.reshape(-1))
    shape = (*x.shape[:axis], *found.shape, *x.shape[axis + 1 :])
    if spaced is not None:
        ranges = [range(d) for d in x.shape]
        ranges[axis] = spaced
        return [replace(sliced(state, node, x, ranges, node.outputs[0]), shape=shape)]
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    flat = (*x.shape[:axis], found.size, *x.shape[axis + 1 :])
    chosen = constant(state, f"{node.outputs[0]}/indices", places.reshape(-1).astype(np.int64))
    options = {"axis": perm.index(axis)}
    value = moved(state, node, x, "Gather", (tensor, chosen), options, flat, Layout(flat, perm))
    return [replace(value, shape=shape)]


def on_gather_elements(state: State, node: FileNode) -> Result:
    x, found = runtime(state, node), constant_of(state, node, 1)
    axis = normal_axis(int(node.attrs.get("axis", 0)), len(x.shape), node)
    extent = x.shape[axis]
    fits = found.ndim == len(x.shape) and all(
        a <= b for i, (a, b) in enumerate(zip(found.shape, x.shape, strict=True)) if i != axis
    )
    if not fits or not found.size or found.min() < -extent or found.max() >= extent:
        raise broken(node, f"indices of shape {found.shape} of a value of shape {x.shape}")
    box = tuple(slice(0, n) if i != axis else slice(None) for i, n in enumerate(found.shape))
    return [picked(state, node, x, np.take_along_axis(places_of(node, x)[box], found % extent, axis))]


def on_gather_nd(state: State, node: FileNode) -> Result:
    x, found = runtime(state, node), constant_of(state, node, 1)
    batch = int(node.attrs.get("batch_dims", 0))
    depth = found.shape[-1] if found.ndim else 0
    if not 0 <= batch < found.ndim or batch + depth > len(x.shape) or not depth:
        raise broken(node, f"tuples of {depth} for a value of shape {x.shape}, batch_dims {batch}")
    if found.shape[:batch] != x.shape[:batch]:
        raise broken(node, f"batches {found.shape[:batch]} and {x.shape[:batch]}")
    own = [_inside(node, found[..., k], x.shape[batch + k]) for k in range(depth)]
    lead = [
        np.arange(n).reshape((1,) * i + (n,) + (1,) * (found.ndim - 2 - i)) for i, n in enumerate(found.shape[:batch])
    ]
    return [picked(state, node, x, places_of(node, x)[(*lead, *own)])]


def _inside(node: FileNode, indices: Array, extent: int) -> Array:
    if not indices.size or indices.min() < -extent or indices.max() >= extent:
        raise broken(node, f"an index outside an axis of {extent}")
    return np.asarray(indices % extent)


def on_scatter(state: State, node: FileNode) -> Result:
    """ScatterND, ScatterElements by constants, without a reduction: data and updates one behind the other, picked."""
    x, indices = runtime(state, node), constant_of(state, node, 1)
    updates = runtime(state, node, 2)
    if node.attrs.get("reduction", "none") != "none":
        raise refuse(
            "unsupported-operator", f"{node.kind} with a reduction", node.where, "scatter without a reduction"
        )
    if x.real != updates.real or (not x.real and x.params != updates.params):
        raise broken(node, "data and updates of different types")
    try:
        places = scattered(node, places_of(node, x), indices, places_of(node, updates) + x.elements)
    except (ValueError, IndexError) as error:
        raise broken(node, f"indices do not fit {x.shape} ({error})") from error
    goal = goal_of(state, node, x.params) if x.real else Goal(x.params or IDENTITY)
    parts = []
    for v in (x, updates):
        tensor = in_file_order(state, v, node.where, (v.elements,))
        parts.append(tensor if v.params is None else replace(tensor, quant=quant_of(v.params)))
    joint = replace(node, outputs=(f"{node.outputs[0]}/joined",))
    shape, types = (x.elements + updates.elements,), [dtype_of(v) for v in (x, updates)]
    both = finish(state, joint, "Concat", parts, {"axis": 0}, shape, plain(shape), goal, types, clamps=True)
    return [picked(state, node, replace(both, real=x.real), places)]


def on_reverse_sequence(state: State, node: FileNode) -> Result:
    x, lengths = runtime(state, node), constant_of(state, node, 1).reshape(-1)
    rank = len(x.shape)
    time = normal_axis(int(node.attrs.get("time_axis", 0)), rank, node)
    batch = normal_axis(int(node.attrs.get("batch_axis", 1)), rank, node)
    if time == batch or len(lengths) != x.shape[batch] or (lengths < 0).any() or (lengths > x.shape[time]).any():
        raise broken(node, f"lengths {lengths.tolist()[:8]} of a value of shape {x.shape}")
    places = np.moveaxis(places_of(node, x).copy(), (batch, time), (0, 1))
    for row, n in zip(places, lengths, strict=True):
        row[:n] = row[:n][::-1].copy()
    return [picked(state, node, x, np.moveaxis(places, (0, 1), (batch, time)))]


def on_blocks(state: State, node: FileNode) -> Result:
    """DepthToSpace (DCR and CRD) and SpaceToDepth, on images that lie channels last."""
    x, block = runtime(state, node), int(node.attrs.get("blocksize", 0))
    if len(x.shape) != 4 or block < 1:
        raise broken(node, f"blocks of {block} of a value of shape {x.shape}")
    n, c, h, w = x.shape
    to_space = node.kind == "DepthToSpace"
    mode = node.attrs.get("mode", "DCR")
    if mode not in ("DCR", "CRD") or (c % (block * block) if to_space else h % block or w % block):
        raise broken(node, f"blocks of {block}, mode {mode!r}, of a value of shape {x.shape}")
    shape = (
        (n, c // block**2, h * block, w * block) if to_space else (n, c * block**2, h // block, w // block)
    )
    tensor = need(state, x, (0, 2, 3, 1), node.where)
    options = {"block": block, "column_row": mode == "CRD"}
    return [moved(state, node, x, node.kind, (tensor,), options, shape, Layout(shape, (0, 2, 3, 1)))]


def on_repeat(state: State, node: FileNode) -> Result:
    """Tile and Expand."""
    x, values = runtime(state, node), [int(v) for v in constant_of(state, node, 1).reshape(-1)]
    if min(values, default=1) < 1 or prod(values) > MAX_ELEMENTS:
        raise broken(node, f"{values[:8]} of a value of shape {x.shape}")
    if node.kind == "Tile":
        if len(values) != len(x.shape) or prod(values) * x.elements > MAX_ELEMENTS:
            raise broken(node, f"{values[:8]} times a value of shape {x.shape}")
        shape = tuple(n * k for n, k in zip(x.shape, values, strict=True))
    else:
        try:
            shape = np.broadcast_shapes(x.shape, tuple(values))
        except ValueError as error:
            raise broken(node, f"a value of shape {x.shape} to {values}") from error
        x = replace(x, shape=(1,) * (len(shape) - len(x.shape)) + x.shape)
        if prod(shape) > MAX_ELEMENTS:
            raise broken(node, f"a value of shape {shape}")
        values = list(shape)
    if shape == x.shape:
        return [x]
    perm = stored_order(x)
    tensor = need(state, x, perm, node.where)
    options = {"values": tuple(values[p] for p in perm)}
    return [moved(state, node, x, node.kind, (tensor,), options, shape, Layout(shape, perm))]


def on_trilu(state: State, node: FileNode) -> Result:
    """What lies outside the triangle is 0."""
    x = runtime(state, node)
    k = int(constant_of(state, node, 1).reshape(-1)[0]) if len(node.inputs) > 1 and node.inputs[1] else 0
    if len(x.shape) < 2 or abs(k) > MAX_ELEMENTS:
        raise broken(node, f"diagonal {k} of a value of shape {x.shape}")
    cut = np.triu if int(node.attrs.get("upper", 1)) else np.tril
    inside = np.broadcast_to(cut(np.ones(x.shape[-2:], bool), k), x.shape)
    if inside.all():
        return [x]
    flat = in_file_order(state, x, node.where, (x.elements,))
    source = _with_zero(state, node, x, flat)
    return [picked(state, node, x, np.where(inside, places_of(node, x), x.elements), source)]


def _with_zero(state: State, node: FileNode, x: Value, flat: Tensor) -> Tensor:
    """The flat value and one element more: what the file sees as 0, which among integers is the integer 0."""
    if x.params is None:
        raise not_quantized(node.inputs[0], node.where)
    flat = replace(flat, quant=quant_of(x.params))
    zero = np.array([x.params.zero_point[0] if x.real else 0], x.params.dtype)
    one = constant(state, f"{node.outputs[0]}/zero", apply(zero, plain((1,))), x.params)
    out = replace(output_tensor(state, f"{node.outputs[0]}/joined", x.params), shape=(x.elements + 1,))
    return build(state, "Concat", (flat, one), {"axis": 0}, out, node.where)


def on_center_crop_pad(state: State, node: FileNode) -> Result:
    """Cut to the middle, or padded with 0 around it."""
    x, wanted = runtime(state, node), constant_of(state, node, 1).reshape(-1)
    raw = node.attrs.get("axes", range(len(x.shape)))
    axes = [normal_axis(int(a), len(x.shape), node) for a in raw]
    if len(axes) != len(wanted) or min(wanted, default=1) < 1 or prod(int(n) for n in wanted) > MAX_ELEMENTS:
        raise broken(node, f"to {wanted.tolist()[:8]} of a value of shape {x.shape}")
    ranges, pads = center_crop_pad(x.shape, dict(zip(axes, (int(n) for n in wanted), strict=True)))
    value = sliced(state, node, x, ranges, node.outputs[0])
    if not any(map(any, pads)):
        return [value]
    if x.params is None:
        raise not_quantized(node.inputs[0], node.where)
    perm = stored_order(value)
    tensor = need(state, value, perm, node.where)
    shape = tuple(n + a + b for n, (a, b) in zip(value.shape, pads, strict=True))
    zero = (x.params.zero_point[0] if x.real else 0) - x.params.shift
    options = {"pads": tuple(pads[p] for p in perm), "value": zero}
    return [moved(state, node, value, "Pad", (tensor,), options, shape, Layout(shape, perm))]
