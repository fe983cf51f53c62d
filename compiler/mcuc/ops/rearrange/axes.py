"""The axes (extent, step in elements) of what file formats call by different names."""

from __future__ import annotations

import numpy as np

from mcuc.ir import Array
from mcuc.ops._move import Axis, collapse, strides

Axes = tuple[Axis, ...]


def depth_to_space(shape: tuple[int, ...], block: int, column_row: bool = False) -> tuple[Axes, tuple[int, ...]]:
    """x [n, h, w, block * block * c] -> [n, h * block, w * block, c]; column_row: channels are [c, block, block]."""
    n, h, w, deep = shape
    c = deep // (block * block)
    sn, sh, sw, _ = strides(shape)
    row, column, channel = (block, 1, block * block) if column_row else (block * c, c, 1)
    axes = [(n, sn), (h, sh), (block, row), (w, sw), (block, column), (c, channel)]
    return tuple(collapse(axes)), (n, h * block, w * block, c)


def space_to_depth(shape: tuple[int, ...], block: int, column_row: bool = False) -> tuple[Axes, tuple[int, ...]]:
    """x [n, h * block, w * block, c] -> [n, h, w, block * block * c]; column_row: channels are [c, block, block]."""
    n, high, wide, c = shape
    sn, sh, sw, _ = strides(shape)
    h, w = high // block, wide // block
    inside = [(c, 1), (block, sh), (block, sw)] if column_row else [(block, sh), (block, sw), (c, 1)]
    axes = [(n, sn), (h, block * sh), (w, block * sw), *inside]
    return tuple(collapse(axes)), (n, h, w, block * block * c)


def tile(shape: tuple[int, ...], times: tuple[int, ...]) -> tuple[Axes, tuple[int, ...]]:
    """Every axis repeated as a whole."""
    axes = [axis for n, step, k in zip(shape, strides(shape), times, strict=True) for axis in ((k, 0), (n, step))]
    return tuple(collapse(axes)), tuple(n * k for n, k in zip(shape, times, strict=True))


def broadcast(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[Axes, tuple[int, ...]]:
    """Axes of 1 repeated, missing ones in front. Raises ValueError where the shapes do not go together."""
    full = (1,) * (len(wanted) - len(shape)) + shape
    if len(full) != len(wanted) or any(n not in (1, m) for n, m in zip(full, wanted, strict=True)):
        raise ValueError(f"{shape} cannot be broadcast to {wanted}")
    axes = [(m, step if n == m else 0) for n, m, step in zip(full, wanted, strides(full), strict=True)]
    return tuple(collapse(axes)), wanted


def places(axes: Axes) -> Array:
    """The flat input place of every output element, in order."""
    found = np.zeros(1, np.int64)
    for n, step in axes:
        found = (found[:, None] + np.arange(n) * step).reshape(-1)
    return found


def is_block(large: tuple[int, ...], small: tuple[int, ...]) -> bool:
    """One image is the other with its channels spread over blocks of pixels."""
    if len(large) != 4 or len(small) != 4 or large[1] % small[1]:
        return False
    block = large[1] // small[1]
    return small[2] * block == large[2] and small[3] == large[3] * block * block
