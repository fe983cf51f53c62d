"""Data movement: affine gathers over any number of axes, copies by index, and the views that bring a tensor there.

Elements of more than one byte are one more axis, of their bytes: so every kernel here moves bytes, whatever the type.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.kernels._base import Call, Columns, Rows, Table

MOST_LISTED = 1 << 16  # positions along an axis that are listed one by one
Axis = tuple[int, int]  # output extent, distance of two elements in the input


def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements between neighbours along each axis of a dense tensor."""
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def collapse(axes: list[Axis]) -> list[Axis]:
    """The same gather with fewer axes: extents of 1 dropped, neighbours that step evenly merged (outermost first)."""
    merged: list[Axis] = []
    for extent, stride in axes:
        if extent == 1:
            continue
        if merged and merged[-1][1] == extent * stride:
            merged[-1] = (merged[-1][0] * extent, stride)
        else:
            merged.append((extent, stride))
    return merged


def image(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """shape as height x width x channels when all axes before the last three are 1, else None."""
    full = (1,) * max(0, 3 - len(shape)) + shape
    return (full[-3], full[-2], full[-1]) if prod(full[:-3]) == 1 else None


def in_bytes(axes: Sequence[Axis], size: int) -> list[Axis]:
    """The same gather of elements of `size` bytes, byte by byte."""
    return list(axes) if size == 1 else [*((n, step * size) for n, step in axes), (size, 1)]


def gather_call(axes: Sequence[Axis], offset: int, source: int = 0) -> Call:
    """out[i][j]...[k] = in[offset + i * axes[0][1] + j * axes[1][1] + ...] byte by byte, written densely.

    The outermost axis is the rows, the innermost the channels, all between them the columns. source: index of the
    run-time input.
    """
    merged = collapse(list(axes))
    padded = [(1, 0)] * (3 - len(merged)) + merged
    (h, sy), *middle, (c, sc) = padded
    rows = Rows(source, sy, h, offset=offset)
    w = prod(n for n, _ in middle)
    if len(middle) == 1:
        params = {"kind": "gather", "sx": middle[0][1], "sc": sc}
    else:
        params = {"kind": "strided", "middle": tuple(middle), "sc": sc}
    return Call("move", params, (), (rows,), h, w, c, w * c, c)


def take_call(shape: tuple[int, ...], indices: Sequence[tuple[int, ...] | None], size: int) -> Call:
    """out = in at the listed indices along each axis of `shape`, None for all of it. size: bytes of an element.

    The last axis with a list is the columns; what lies behind it is copied as one run. All before it are the rows.
    """
    listed = [i for i, index in enumerate(indices) if index is not None]
    if not listed:
        return gather_call([(prod(shape) * size, 1)], 0)
    last = listed[-1]
    if last == listed[0] and last > 0 and prod(shape[:last]) == 1 and len(shape) > last + 1:
        return _take_rows(shape, indices, last, size)
    index = indices[last]
    assert index is not None
    run = prod(shape[last + 1 :]) * size
    flat = np.zeros(1, np.int64)
    for n, chosen in zip(shape[:last], indices[:last], strict=True):
        flat = (flat[:, None] * n + np.array(range(n) if chosen is None else chosen)[None, :]).reshape(-1)
    inputs = prod(shape[:last])
    plain = len(flat) == inputs and np.array_equal(flat, np.arange(inputs))
    rows = Rows(0, shape[last] * run, inputs, index=() if plain else tuple(int(v) for v in flat))
    params = {"kind": "columns", "in_c": run}
    return Call(
        "move", params, (_columns_table(index),), (rows,), len(flat), len(index), run, len(index) * run, run
    )


def _take_rows(
    shape: tuple[int, ...], indices: Sequence[tuple[int, ...] | None], axis: int, size: int
) -> Call:
    """Whole rows of an image, by number: a stream can find each of them in its ring."""
    index = indices[axis]
    assert index is not None
    w, run = (shape[axis + 1], prod(shape[axis + 2 :]) * size) if len(shape) > axis + 2 else (1, shape[axis + 1] * size)
    rows = Rows(0, w * run, shape[axis], index=index, columns=Columns(run))
    return Call("move", {"kind": "gather", "sx": run, "sc": 1}, (), (rows,), len(index), w, run, w * run, run)


def _columns_table(index: Sequence[int]) -> Table:
    wide = max(index, default=0) > 32767
    return Table("columns", "int32_t" if wide else "int16_t", np.array(index, np.int32 if wide else np.int16))


def most_rows(shape: tuple[int, ...], indices: Sequence[tuple[int, ...] | None]) -> int:
    """Input rows that take_call counts by an int16 index, 0 where it needs none."""
    listed = [i for i, index in enumerate(indices) if index is not None]
    if not listed:
        return 0
    if len(listed) == 1:
        return shape[listed[0]] if listed[0] and prod(shape[: listed[0]]) == 1 else 0
    return prod(shape[: listed[-1]])


def copy_call(h: int, w: int, c: int, *, source: int = 0, out_row_bytes: int, out_stride: int, out_offset: int) -> Call:
    """A dense h x w x c input to a slice of the output (one part of a concatenation)."""
    rows = Rows(source, w * c, h, columns=Columns(c))
    params = {"kind": "gather", "sx": c, "sc": 1}
    return Call("move", params, (), (rows,), h, w, c, out_row_bytes, out_stride, out_offset)


def compile_time_only(node: Node, graph: Graph) -> str | None:
    """Evaluated at compile time: every input must be a constant once the batch is 1."""
    names = graph.runtime_inputs(node)
    return f"input {names[0]!r} is computed at run time" if names else "not folded into a constant"


def padded_positions(extent: int, before: int, after: int, mode: str) -> tuple[int, ...]:
    """What a padded axis reads: mode reflect, symmetric, edge or wrap, as NumPy's pad has them."""
    positions = np.pad(np.arange(extent), (before, after), mode=mode)  # type: ignore[call-overload]
    return tuple(int(p) for p in positions)


INDEX_TYPES = (DType.INT8, DType.INT16, DType.INT32)


def inside(indices: Array, extent: int, wrap: bool) -> Array:
    """Indices brought into [0, extent): from the end where negative and wrap says so, else the nearest element.

    mcuc_index of mcuc_port.h: what an index outside its axis means at run time, where the runtimes read past the end.
    """
    wide = indices.astype(np.int64)
    if wrap:
        wide = np.where((wide < 0) & (wide >= -extent), wide + extent, wide)
    return np.asarray(np.clip(wide, 0, extent - 1))


def indexed_call(
    data: Tensor, indices: Tensor, axes: Sequence[Axis], rows: tuple[int, int], run: int, count: int, wrap: bool
) -> Call:
    """A run of bytes of `data` for each of `count` index tuples; a node's inputs are data and indices, in this order.

    axes: extent and bytes between neighbours, an index of the tuple each. rows: how many the data have and bytes of
    one; each is gathered by the same tuples, or where the index tensor has several rows of them, by its own. Constant
    data are a table.
    """
    height, row_bytes = rows
    width, constant = indices.dtype.bytes, data.data is not None
    index_row = count * len(axes) * width
    index_rows = indices.bytes // index_row
    each = height // index_rows
    shared = () if each == 1 else tuple(y // each for y in range(height))
    sources = (Rows(0, row_bytes, height), Rows(0 if constant else 1, index_row, index_rows, index=shared))
    tables = () if data.data is None else (Table("values", "int8_t", as_bytes(data.data)),)
    params = {
        "kind": "indexed",
        "constant": constant,
        "axes": tuple(axes),
        "index_bytes": width,
        "load": f"mcuc_load_i{8 * width}",
        "wrap": wrap,
    }
    return Call("move", params, tables, sources[constant:], height, count, run, count * run, run)


def as_bytes(data: Array) -> Array:
    """The bytes of a constant, in order, as int8."""
    return np.frombuffer(np.ascontiguousarray(data).tobytes(), np.int8)


def moved_types(node: Node, graph: Graph) -> str | None:
    """Activations are integers or bools, input and output of one type."""
    names = (*graph.runtime_inputs(node), *node.outputs)
    types = {graph.tensors[n].dtype for n in names}
    if len(types) > 1:
        return "tensors are " + ", ".join(f"{n!r} {graph.tensors[n].dtype.value}" for n in names)
    if types == {DType.FLOAT32}:
        return f"tensor {names[0]!r} is float32"
    return None


def element_bytes(node: Node, graph: Graph) -> int:
    """Bytes of an element of the node's output."""
    return graph.tensors[node.outputs[0]].dtype.bytes
