"""Data movement as an affine gather over at most three dimensions, and the views that bring a tensor there."""

from __future__ import annotations

from math import prod

from mcuc.ir import Graph, Node
from mcuc.kernels._base import Call, Columns, Rows

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


def three_axes(axes: list[Axis]) -> tuple[Axis, Axis, Axis] | None:
    """axes collapsed to rows, columns, channels; None when more than three remain."""
    merged = collapse(axes)
    if len(merged) > 3:
        return None
    padded = [(1, 0)] * (3 - len(merged)) + merged
    return padded[0], padded[1], padded[2]


def gather_call(axes: tuple[Axis, Axis, Axis], offset: int, source: int = 0) -> Call:
    """out[y][x][c] = in[offset + y * sy + x * sx + c * sc], written densely. source: index of the runtime input."""
    (h, sy), (w, sx), (c, sc) = axes
    rows = Rows(source, sy, h, offset=offset)
    return Call("move", {"kind": "gather", "sx": sx, "sc": sc}, (), (rows,), h, w, c, w * c, c)


def copy_call(h: int, w: int, c: int, *, source: int = 0, out_row_bytes: int, out_stride: int, out_offset: int) -> Call:
    """A dense h x w x c input to a slice of the output (one part of a concatenation)."""
    rows = Rows(source, w * c, h, columns=Columns(c))
    params = {"kind": "gather", "sx": c, "sc": 1}
    return Call("move", params, (), (rows,), h, w, c, out_row_bytes, out_stride, out_offset)


def compile_time_only(node: Node, graph: Graph) -> str | None:
    """Evaluated at compile time: every input must be a constant once the batch is 1."""
    names = graph.runtime_inputs(node)
    return f"input {names[0]!r} is computed at run time" if names else "not folded into a constant"
