"""Constant folding of ONNX nodes on the host: shape arithmetic and whatever else has only constant inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.importers._onnx_proto import DTYPES, MAX_ELEMENTS, FileNode
from mcuc.ir import Array

MAX_FOLDED = 1 << 26  # elements of all constants of a file that are computed


def reshape_target(shape: Sequence[int], wanted: Sequence[int], allow_zero: bool, where: str) -> tuple[int, ...]:
    """ONNX Reshape: 0 copies a dimension (unless allow_zero), one -1 is computed. Raises McucError otherwise."""
    dims = [shape[i] if d == 0 and not allow_zero and i < len(shape) else int(d) for i, d in enumerate(wanted)]
    if dims.count(-1) == 1:
        rest = prod(d for d in dims if d != -1)
        dims[dims.index(-1)] = prod(shape) // rest if rest else -1
    if any(d < 0 for d in dims) or prod(dims) != prod(shape):
        raise McucError(
            "broken-model",
            f"Reshape of {tuple(shape)} to {tuple(int(d) for d in wanted)} is impossible",
            where=where,
            try_this="if the batch is part of this shape, export the model with batch 1",
        )
    return tuple(dims)


def _sized(shape: Any) -> tuple[int, ...]:
    dims = tuple(int(d) for d in np.asarray(shape).reshape(-1))
    if any(d < 0 for d in dims) or prod(dims) > MAX_ELEMENTS:
        raise ValueError(f"constant of shape {dims}")
    return dims


def axes_of(node: FileNode, arrays: Sequence[Array | None], index: int = 1) -> tuple[int, ...] | None:
    """The axes of Squeeze, Unsqueeze and reductions: an input in newer opsets, an attribute in older ones."""
    if len(arrays) > index and arrays[index] is not None:
        return tuple(int(a) for a in np.asarray(arrays[index]).reshape(-1))
    found = node.attrs.get("axes")
    return None if found is None else tuple(int(a) for a in found)


def _unsqueeze(x: Array, axes: tuple[int, ...]) -> Array:
    rank = x.ndim + len(axes)
    return np.expand_dims(x, tuple(sorted(a % rank for a in axes)))


def _squeeze(x: Array, axes: tuple[int, ...] | None) -> Array:
    return np.squeeze(x) if axes is None else np.squeeze(x, tuple(axes))


def _slice(x: Array, starts: Array, ends: Array, axes: Array | None, steps: Array | None) -> Array:
    chosen = range(len(starts)) if axes is None else [int(a) for a in axes]
    index: list[slice] = [slice(None)] * x.ndim
    for position, axis in enumerate(chosen):
        step = 1 if steps is None else int(steps[position])
        start, end = int(starts[position]), int(ends[position])
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def scattered(node: FileNode, data: Array, indices: Array, updates: Array) -> Array:
    """ScatterND or ScatterElements without a reduction. Raises ValueError or IndexError where they do not fit."""
    out = data.copy()
    if node.kind == "ScatterND":
        out[tuple(np.moveaxis(indices, -1, 0))] = updates
        return out
    axis = int(node.attrs.get("axis", 0))
    if indices.shape != updates.shape or indices.ndim != data.ndim:
        raise ValueError(f"indices of shape {indices.shape}, updates of {updates.shape}")
    if indices.size and (indices.min() < -data.shape[axis] or indices.max() >= data.shape[axis]):
        raise IndexError(f"an index outside an axis of {data.shape[axis]}")
    where = list(np.indices(indices.shape))
    where[axis] = indices % data.shape[axis]
    out[tuple(where)] = updates
    return out


def center_crop_pad(shape: Sequence[int], wanted: Mapping[int, int]) -> tuple[list[range], list[tuple[int, int]]]:
    """CenterCropPad: what is kept of each axis, and what is added before and after it. wanted: axis -> its new size."""
    ranges, pads = [], []
    for axis, n in enumerate(shape):
        size = wanted.get(axis, n)
        cut, more = max(0, n - size), max(0, size - n)
        ranges.append(range(cut // 2, cut // 2 + n - cut))
        pads.append((more // 2, more - more // 2))
    return ranges, pads


def _one_hot(node: FileNode, indices: Array, depth: Array, values: Array) -> Array:
    count, places = int(depth.reshape(-1)[0]), indices.astype(np.int64)
    _sized((*indices.shape, count))
    places = np.where((places < 0) & (places >= -count), places + count, places)
    hot = np.where(places[..., None] == np.arange(count), values[1], values[0])
    axis = int(node.attrs.get("axis", -1))
    return np.moveaxis(hot, -1, axis)


def _integer_division(a: Array, b: Array) -> Array:
    """Of integers towards zero, exactly. Raises ValueError for an integer divisor of 0."""
    if not np.issubdtype(a.dtype, np.integer):
        return np.asarray(a / b)
    if not np.all(b):
        raise ValueError("division by 0")
    return np.asarray(a // b + ((a % b != 0) & ((a < 0) != (b < 0))), a.dtype)


def _constant(node: FileNode) -> Array:
    for key, dtype in (
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_float", np.float32),
        ("value_floats", np.float32),
    ):
        if key in node.attrs:
            return np.array(node.attrs[key], dtype)
    value = node.attrs["value"]
    if not isinstance(value, np.ndarray):
        raise ValueError("Constant without a tensor")
    return value


def _plain_scatter(node: FileNode, a: Sequence[Any]) -> Array:
    if node.attrs.get("reduction", "none") != "none":
        raise ValueError("with a reduction")
    return scattered(node, a[0], a[1], a[2])


def _reduce(function: Callable[..., Any]) -> Callable[[FileNode, Sequence[Any]], Array]:
    def run(node: FileNode, a: Sequence[Any]) -> Array:
        axes, keep = axes_of(node, a) or None, bool(node.attrs.get("keepdims", 1))  # an empty list means all, too
        if axes is None and int(node.attrs.get("noop_with_empty_axes", 0)):
            return np.asarray(a[0])
        return np.asarray(function(a[0], axis=axes, keepdims=keep), a[0].dtype)

    return run


_FOLD: dict[str, Callable[[FileNode, Sequence[Any]], Array]] = {
    "Constant": lambda n, a: _constant(n),
    "ConstantOfShape": lambda n, a: np.full(_sized(a[0]), n.attrs.get("value", np.zeros(1, np.float32)).reshape(-1)[0]),
    "Identity": lambda n, a: a[0],
    "Cast": lambda n, a: a[0].astype(DTYPES[n.attrs["to"]]),
    "Gather": lambda n, a: np.take(a[0], a[1], axis=n.attrs.get("axis", 0)),
    "Concat": lambda n, a: np.concatenate(list(a), axis=n.attrs["axis"]),
    "Unsqueeze": lambda n, a: _unsqueeze(a[0], axes_of(n, a) or ()),
    "Squeeze": lambda n, a: _squeeze(a[0], axes_of(n, a)),
    "Reshape": lambda n, a: a[0].reshape(reshape_target(a[0].shape, a[1], bool(n.attrs.get("allowzero", 0)), n.where)),
    "Flatten": lambda n, a: a[0].reshape(prod(a[0].shape[: n.attrs.get("axis", 1)]), -1),
    "Transpose": lambda n, a: np.transpose(a[0], n.attrs.get("perm")),
    "Slice": lambda n, a: _slice(a[0], a[1], a[2], a[3] if len(a) > 3 else None, a[4] if len(a) > 4 else None),
    "Expand": lambda n, a: np.broadcast_to(a[0], np.broadcast_shapes(a[0].shape, _sized(a[1]))),
    "Range": lambda n, a: np.arange(a[0], min(a[1], a[0] + MAX_ELEMENTS), a[2]).astype(a[0].dtype),
    "Add": lambda n, a: a[0] + a[1],
    "Sub": lambda n, a: a[0] - a[1],
    "Mul": lambda n, a: a[0] * a[1],
    "Div": lambda n, a: _integer_division(a[0], a[1]),
    "GatherElements": lambda n, a: np.take_along_axis(a[0], a[1], n.attrs.get("axis", 0)),
    "OneHot": lambda n, a: _one_hot(n, a[0], a[1], a[2]),
    "ScatterElements": lambda n, a: _plain_scatter(n, a),
    "ScatterND": lambda n, a: _plain_scatter(n, a),
    "Tile": lambda n, a: np.tile(a[0], _sized(a[1])),
    "Trilu": lambda n, a: (np.triu if n.attrs.get("upper", 1) else np.tril)(a[0], int(a[1]) if len(a) > 1 else 0),
    "Neg": lambda n, a: -a[0],
    "Sqrt": lambda n, a: np.sqrt(a[0]),
    "Floor": lambda n, a: np.floor(a[0]),
    "Ceil": lambda n, a: np.ceil(a[0]),
    "Equal": lambda n, a: a[0] == a[1],
    "Greater": lambda n, a: a[0] > a[1],
    "Less": lambda n, a: a[0] < a[1],
    "Where": lambda n, a: np.where(a[0], a[1], a[2]),
    "Min": lambda n, a: np.minimum.reduce(list(a)),
    "Max": lambda n, a: np.maximum.reduce(list(a)),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMin": _reduce(np.min),
    "ReduceMax": _reduce(np.max),
}


def can_fold(kind: str) -> bool:
    return kind in _FOLD


_BROADCAST = {"Add", "Sub", "Mul", "Div", "Equal", "Greater", "Less", "Where", "Min", "Max"}


def _elements(node: FileNode, a: Sequence[Any]) -> int:
    """About how many elements the result has, from shapes alone."""
    sizes = [x.size for x in a if x is not None]
    if node.kind in _BROADCAST:
        return prod(np.broadcast_shapes(*(x.shape for x in a)))
    if node.kind in ("Expand", "ConstantOfShape"):
        return prod(int(n) for n in a[-1].reshape(-1))
    if node.kind == "Tile":
        return int(a[0].size) * prod(int(n) for n in a[1].reshape(-1))
    if node.kind == "OneHot":
        return int(a[0].size) * int(a[1].reshape(-1)[0])
    if node.kind == "Gather":
        return int(a[0].size) // max(1, int(a[0].shape[node.attrs.get("axis", 0)])) * int(a[1].size)
    if node.kind == "Range":
        return int(abs(float(a[1]) - float(a[0])) / abs(float(a[2]))) + 1
    return sum(sizes) if node.kind == "Concat" else max(sizes, default=0)


def fold(node: FileNode, arrays: Sequence[Array | None], most: int = MAX_FOLDED) -> Array:
    """The node's only output, of at most so many elements. Raises McucError("broken-model") when the constants do not
    fit."""
    try:
        elements = _elements(node, arrays)
        if elements > most:
            raise ValueError(f"{elements} elements, all that are computed have {MAX_FOLDED} at most")
        result = np.asarray(_FOLD[node.kind](node, arrays))
    except McucError:
        raise
    except Exception as error:  # NumPy's many complaints about misfitting constants
        raise McucError(
            "broken-model",
            f"{node.kind} of constants cannot be computed ({error})",
            where=node.where,
            try_this="check that the model file is complete",
        ) from error
    return result
