"""Handler of ONNX Resize."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcuc.importers._onnx_moves import IDENTITY, constants_of
from mcuc.importers._onnx_nodes import (
    Result,
    broken,
    dtype_of,
    finish,
    goal_of,
    in_two,
    normal_axis,
    of_rank,
    requantize_to,
    spatial,
)
from mcuc.importers._onnx_proto import FileNode
from mcuc.importers._onnx_quant import Goal
from mcuc.importers._onnx_state import State, constant_of, not_quantized, refuse, runtime
from mcuc.importers._onnx_values import Value, channels_last

_IN_FLOAT = {"cubic": "ResizeCubic", "linear": "ResizeLinear"}


def on_resize(state: State, node: FileNode) -> Result:
    """Height and width, or the length of a sequence; modes linear and cubic in float32 between neighbours, mode nearest
    on the integers."""
    x = runtime(state, node)
    rank = len(x.shape)
    x = in_two(node, x)[1]
    tensor = spatial(state, x, node)
    target, factors = _resize_target(state, node, x, rank)
    mode = node.attrs.get("mode", "nearest")
    options = {
        "size": target[2:],
        "scales": factors,
        "mode": mode,
        "coordinate": node.attrs.get("coordinate_transformation_mode", "half_pixel"),
        "nearest": node.attrs.get("nearest_mode", "round_prefer_floor"),
    }
    layout, types = channels_last(target), (dtype_of(x),)
    if mode in _IN_FLOAT and int(node.attrs.get("antialias", 0)) == int(node.attrs.get("exclude_outside", 0)) == 0:
        if not x.real or x.params is None:
            raise not_quantized(node.inputs[0], node.where)
        options["cubic_coeff_a"] = float(node.attrs.get("cubic_coeff_a", -0.75))
        if not abs(options["cubic_coeff_a"]) < 1e30:
            raise broken(node, f"cubic_coeff_a is {options['cubic_coeff_a']}")
        goal = goal_of(state, node, x.params)
        out = finish(state, node, _IN_FLOAT[mode], (tensor,), options, target, layout, goal, types, clamps=True)
        return [of_rank(out, rank)]
    goal = goal_of(state, node, x.params) if x.real else Goal(x.params or IDENTITY)
    out = finish(state, node, "Resize", (tensor,), options, target, layout, Goal(x.params or IDENTITY), types)
    out = of_rank(out, rank)
    if not x.real:
        return [replace(out, real=False, params=x.params)]
    return [requantize_to(state, node, out, goal)]


def _resize_target(state: State, node: FileNode, x: Value, rank: int) -> tuple[tuple[int, ...], tuple[float, float]]:
    """The output's shape, and the scales of height and width. rank: in the file; a sequence has height 1."""
    for i in range(1, len(node.inputs)):
        if node.inputs[i]:
            constant_of(state, node, i)
    arrays = constants_of(state, node)
    scales = arrays[2] if len(arrays) > 2 and arrays[2] is not None and arrays[2].size else None
    sizes = arrays[3] if len(arrays) > 3 and arrays[3] is not None and arrays[3].size else None
    given = scales if sizes is None else sizes
    axes = [normal_axis(int(a), rank, node) for a in node.attrs.get("axes", range(rank))]
    axes = [3 if rank == 3 and a == 2 else a for a in axes]
    policy = node.attrs.get("keep_aspect_ratio_policy", "stretch")
    known = policy in ("stretch", "not_larger", "not_smaller")
    if given is None or (scales is not None and sizes is not None) or given.size != len(axes) or not known:
        raise refuse(
            "unsupported-operator",
            f"Resize needs a scale or a size for each axis (policy {policy!r})",
            node.where,
            "give sizes for N, C, H and W, or N, C and L",
        )
    values = dict(zip(axes, given.reshape(-1).tolist(), strict=True))
    if sizes is not None and policy != "stretch" and values:  # one factor for all axes that are named
        each = [np.float32(v) / np.float32(x.shape[axis]) for axis, v in values.items()]
        factor = min(each) if policy == "not_larger" else max(each)
        values, sizes = dict.fromkeys(values, float(factor)), None
    factors = []
    target = list(x.shape)
    for axis, extent in enumerate(x.shape):
        if axis not in values:
            factors.append(1.0)
        elif sizes is not None:
            target[axis] = int(values[axis])
            factors.append(float(np.float32(target[axis]) / np.float32(extent)))
        else:
            factors.append(float(np.float32(values[axis])))
            product = np.float32(values[axis]) * np.float32(extent)
            whole = np.floor(product) if policy == "stretch" else np.floor(product + np.float32(0.5))
            target[axis] = int(whole) if np.isfinite(product) and abs(product) < 1e9 else -1
    fits = tuple(target[:2]) == x.shape[:2] and min(target) >= 1 and max(*target, *x.shape) < 1 << 15
    if not fits or not all(0 < f < 1e4 for f in factors):
        raise refuse(
            "unsupported-operator",
            f"Resize of {x.shape} to {tuple(target)} is not supported",
            node.where,
            "resize height and width, or the length, only",
        )
    return tuple(target), (factors[2], factors[3])
