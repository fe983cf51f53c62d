"""What a layer reads, row by row and column by column: the geometry that streams and lifetimes are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from mcuc.ir import DType, Graph
from mcuc.kernels._base import Call, Columns, Rows
from mcuc.schedule import Layer

MOST = 32767  # rows and columns that the counters of a line can tell, mcuc_line_t


@dataclass(frozen=True)
class Grid:
    """A tensor as rows of pixels: [1, height, width, channels], or any other shape as one row of one pixel."""

    height: int
    width: int
    pixel_bytes: int

    @property
    def row_bytes(self) -> int:
        return self.width * self.pixel_bytes


@dataclass(frozen=True)
class Reads:
    """What output row y needs of one input: rows first[y] to last[y] (inside the tensor, last < first: none), and for
    output column x the columns that `columns` says, None for whole rows."""

    first: tuple[int, ...]
    last: tuple[int, ...]
    columns: Columns | None


def grid(graph: Graph, tensor: str) -> Grid:
    """The tensor's rows; one row where it is no image."""
    t = graph.tensors[tensor]
    return _grid(t.shape, t.dtype)


@lru_cache(maxsize=4096)
def _grid(shape: tuple[int, ...], dtype: DType) -> Grid:
    if len(shape) == 4 and shape[0] == 1:
        return Grid(shape[1], shape[2], shape[3] * dtype.bytes)
    return Grid(1, 1, prod(shape) * dtype.bytes)


def by_rows(call: Call, out: Grid) -> Call | None:
    """The call with one kernel run an output row; None where its rows are not the output tensor's.

    A layer that treats every pixel alike is lowered as one long row; it is cut into the image's rows again.
    """
    if call.height == out.height and call.width == out.width:
        return call
    if call.height != 1 or call.width != out.height * out.width or call.out_row_bytes % out.height:
        return None
    if not all(_pointwise(rows) for rows in call.rows):
        return None
    rows = tuple(
        replace(r, row_bytes=out.width * r.columns.pixel_bytes, height=out.height) for r in call.rows if r.columns
    )
    return replace(
        call, rows=rows, height=out.height, width=out.width, out_row_bytes=call.out_row_bytes // out.height
    )


def _pointwise(rows: Rows) -> bool:
    plain = rows.count == 1 and rows.stride == 1 and rows.pad == 0 and not rows.index and rows.offset == 0
    return plain and rows.columns is not None and rows.columns == Columns(rows.columns.pixel_bytes)


def reads_of(call_rows: tuple[Rows, ...], height: int) -> Reads:
    """What a layer of `height` output rows needs of one input that these row sets read."""
    first, last = [], []
    for y in range(height):
        tops, ends = [], []
        for r in call_rows:
            top = r.index[y] if r.index else y * r.stride - r.pad
            end = top + (r.count - 1) * r.dilation
            tops.append(max(0, top))
            ends.append(min(r.height - 1, end))
        first.append(min(tops))
        last.append(max(ends))
    columns = call_rows[0].columns
    return Reads(tuple(first), tuple(last), columns if all(r.columns == columns for r in call_rows) else None)


def reads(layer: Layer, graph: Graph) -> Mapping[str, Reads]:
    """Run-time input -> what the layer, cut into the calls' own rows, needs of it."""
    names = graph.runtime_inputs(layer.node)
    height = max(call.height for call, _ in layer.calls)
    found: dict[str, list[Rows]] = {}
    for call, _ in layer.calls:
        for rows in call.rows:
            found.setdefault(names[rows.input], []).append(rows)
    return {name: reads_of(tuple(rows), height) for name, rows in found.items()}


def streamable(layer: Layer, graph: Graph) -> Layer | None:
    """The layer as a member of a stream: its calls by rows of the output image. None where it cannot be one."""
    node = layer.node
    out = graph.tensors[node.outputs[0]]
    if any(graph.tensors[n].dtype.bytes > 2 for n in (*graph.runtime_inputs(node), *node.outputs)):
        return None  # indices are no images
    if len(out.shape) != 4 or out.shape[0] != 1 or not layer.calls or len(node.outputs) != 1:
        return None
    if any(state.next in node.outputs for state in graph.states):  # written when all its readers have run
        return None
    calls = []
    for call, kernel in layer.calls:
        cut = by_rows(call, grid(graph, node.outputs[0]))
        if cut is None or cut.out_row_bytes != grid(graph, out.name).row_bytes:
            return None
        calls.append((cut, kernel))
    return replace(layer, calls=tuple(calls))


def countable(layer: Layer, graph: Graph) -> bool:
    """The rows and columns of all its tensors can be counted by a stream."""
    grids = (grid(graph, name) for name in (*graph.runtime_inputs(layer.node), *layer.node.outputs))
    return all(max(g.height, g.width) <= MOST for g in grids)


@lru_cache(maxsize=4096)
def ringable(layer: Layer, tensor: str, graph: Graph) -> bool:
    """The streamed layer finds the tensor's rows wherever they lie: it reads whole image rows by their numbers."""
    names = graph.runtime_inputs(layer.node)
    rows = [r for call, _ in layer.calls for r in call.rows if names[r.input] == tensor]
    g = grid(graph, tensor)
    alike = len({replace(r, offset=0, columns=None) for r in rows}) == 1
    return alike and all(
        r.height == g.height
        and r.row_bytes == g.row_bytes
        and 0 <= r.offset < g.row_bytes
        and r.stride > 0
        and (r.columns is None or r.columns.pixel_bytes == g.pixel_bytes)
        for r in rows
    )
