"""Values during ONNX import, and how their stored layout relates to the file's.

A run-time value is stored as transpose(file_value.reshape(view), perm), then reshaped to what its readers need:
activations lie channels last while the file says channels first, so an ONNX Transpose costs nothing until somebody
needs another order, and flattening a feature map only permutes the rows of the next dense layer's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mcuc.ir import Array, Tensor

CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1)}


@dataclass(frozen=True)
class Params:
    """Quantization of a file value: real = scale * (q - zero_point), in the file's own integer type."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    dtype: str
    axis: int | None = None

    @property
    def shift(self) -> int:
        """What import subtracts from the stored integers: 128 for uint8, 8 for uint4."""
        return {"uint8": 128, "uint4": 8}.get(self.dtype, 0)


@dataclass(frozen=True)
class Layout:
    """Stored order: file value seen with shape view, then transposed by perm."""

    view: tuple[int, ...]
    perm: tuple[int, ...]

    @property
    def stored(self) -> tuple[int, ...]:
        return tuple(self.view[p] for p in self.perm)

    def is_plain(self) -> bool:
        """The bytes lie as in the file (dimensions of 1 do not count)."""
        moved = [p for p in self.perm if self.view[p] != 1]
        return moved == sorted(moved)


def plain(shape: Sequence[int]) -> Layout:
    return Layout(tuple(shape), tuple(range(len(shape))))


def channels_last(shape: Sequence[int]) -> Layout:
    """NHWC for rank 4 (and NLC for rank 3); other ranks as in the file."""
    return Layout(tuple(shape), CHANNELS_LAST.get(len(shape), tuple(range(len(shape)))))


def same_bytes(a: Layout, b: Layout) -> bool:
    """Two layouts of one value order its elements alike."""
    if a.is_plain() and b.is_plain():
        return True
    return _squeezed(a) == _squeezed(b)


def _squeezed(layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...]]:
    kept = [i for i, d in enumerate(layout.view) if d != 1]
    number = {axis: n for n, axis in enumerate(kept)}
    return tuple(layout.view[i] for i in kept), tuple(number[p] for p in layout.perm if p in number)


def apply(array: Array, layout: Layout) -> Array:
    """A file array in stored order, shape layout.stored."""
    ordered = np.transpose(array.reshape(layout.view), layout.perm)
    return np.ascontiguousarray(ordered).reshape(layout.stored)


def undo(array: Array, layout: Layout, shape: Sequence[int]) -> Array:
    """A stored array (any shape with the right elements) back in the file's order and shape."""
    inverse = tuple(int(i) for i in np.argsort(layout.perm))
    return np.ascontiguousarray(np.transpose(array.reshape(layout.stored), inverse)).reshape(tuple(shape))


@dataclass(frozen=True, eq=False)
class Value:
    """A value of the file: a constant (array set, in the file's layout) or a run-time tensor in stored layout.

    shape: the file's. params: its quantization where known. real: the file sees it as float (after DequantizeLinear).
    int4: a constant that the file holds in four bits; array and params are of int8.
    """

    shape: tuple[int, ...]
    array: Array | None = None
    tensor: Tensor | None = None
    layout: Layout | None = None
    params: Params | None = None
    real: bool = False
    int4: bool = False

    @property
    def elements(self) -> int:
        return prod(self.shape)
