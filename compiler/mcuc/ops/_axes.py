"""Reductions over any axes: the axes of a file, the shapes, and the walk through one input row as nested strides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Columns, Rows
from mcuc.ops._base import Imported, Shape


def reduced(shape: Shape, axes: Sequence[int], keep_dims: bool) -> Shape:
    """The shape without the axes, or with 1 in their places."""
    if keep_dims:
        return tuple(1 if i in axes else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axes)


def file_axes(node: Imported, x: Tensor) -> tuple[int, ...]:
    """The constant axes at input 1, sorted, not negative. Raises McucError on axes out of range."""
    rank = len(x.shape)
    raw = [int(a) for a in np.asarray(node.constant(1)).reshape(-1)]
    if any(not -rank <= a < rank for a in raw):
        raise McucError(
            "broken-model",
            f"axes {raw} of a tensor of rank {rank}",
            where=node.where,
            try_this="check that the model file is complete",
        )
    return tuple(sorted({a % rank for a in raw}))


def axes_constant(node: Node, axes: Sequence[int]) -> Tensor:
    """The axes as a constant for an exporter."""
    data = np.array(axes, np.int32)
    return Tensor(f"{node.outputs[0]}/axes", data.shape, DType.INT32, None, data)


def groups(shape: Shape, axes: Sequence[int]) -> list[tuple[int, bool]]:
    """The dimensions as (size, reduced), neighbours of one kind merged, dimensions of 1 dropped."""
    merged: list[tuple[int, bool]] = []
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        if merged and merged[-1][1] == (axis in axes):
            merged[-1] = (merged[-1][0] * size, merged[-1][1])
        else:
            merged.append((size, axis in axes))
    return merged


@dataclass(frozen=True)
class Walk:
    """kept: height, width, channels of the output; an element starts at x * x_stride + c * c_stride of its row and
    runs through the loops (count, stride), outermost first."""

    kept: tuple[int, int, int]
    x_stride: int
    c_stride: int
    loops: tuple[tuple[int, int], ...]
    rows: Rows

    @property
    def count(self) -> int:
        return prod(n for n, _ in self.loops)


def walk(shape: Shape, axes: Sequence[int]) -> Walk | None:
    """How a reduction goes through a dense tensor of bytes; None where four or more runs of kept dimensions remain."""
    dims = groups(shape, axes)
    strides = [prod(size for size, _ in dims[i + 1 :]) for i in range(len(dims))]
    kept = [(size, stride) for (size, gone), stride in zip(dims, strides, strict=True) if not gone]
    loops = tuple((size, stride) for (size, gone), stride in zip(dims, strides, strict=True) if gone)
    tall = len(kept) > 1 and not dims[0][1]
    inner = kept[1:] if tall else kept
    if len(inner) > 2:
        return None
    if len(inner) == 1 and dims[-1][1]:  # what is left of a row of vectors is a row of pixels
        inner = [*inner, (1, 0)]
    (w, x_stride), (c, c_stride) = [(1, 0)] * (2 - len(inner)) + inner
    h, row = kept[0] if tall else (1, prod(shape))
    pixels = not tall and len(dims) == 2 and dims[-1][1]
    rows = Rows(0, row, h, columns=Columns(x_stride) if pixels else None)
    return Walk((h, w, c), x_stride, c_stride, loops or ((1, 0),), rows)


def walkable(node: Node, graph: Graph) -> str | None:
    """Kept dimensions lie in two runs at most, three where the first is kept (any axes up to rank 5)."""
    shape = graph.tensors[node.inputs[0]].shape
    return None if walk(shape, node.attrs.axes) is not None else f"axes {node.attrs.axes} of shape {shape}"


def thresholds(function: Callable[[Array], Array], low: int, high: int) -> tuple[int, ...]:
    """For the outputs -127 to 127 the smallest argument in [low, high] that gives at least it, high + 1 for none.

    function: monotone, int64 array to the output's integers, not yet saturated.
    """
    wanted = np.arange(-127, 128)
    a, b = np.full(255, low, np.int64), np.full(255, high + 1, np.int64)
    while (a < b).any():
        middle = (a + b) // 2
        enough = (function(np.minimum(middle, high)) >= wanted) | (middle > high)
        a, b = np.where(enough, a, np.minimum(middle + 1, b)), np.where(enough, middle, b)
    return tuple(int(v) for v in b)
