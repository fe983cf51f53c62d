"""Memory of which every byte knows what was last written to it, and kernels run on it.

A byte of memory carries a tag, the number of the value that was written there: a byte of a tensor, of a scratch, of
sums or counters. Reading checks tags, writing sets them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mcuc import ops
from mcuc.ir import Graph, Node, Tensor
from mcuc.kernels._base import Columns, Kernel, Rows
from mcuc.plan import Plan

TAG = 4  # bytes of a tag, a little-endian uint32


@dataclass(frozen=True, eq=False)
class Memory:
    """The tags of an array of bytes."""

    name: str
    tags: bytearray


class Piece(NamedTuple):
    """Bytes from `at` on, and the tags that they have or get. what: for messages."""

    memory: Memory
    at: int
    tags: memoryview
    what: str

    @property
    def bytes(self) -> int:
        return len(self.tags) // TAG


@dataclass
class Machine:
    """Arenas and the caller's buffers while a schedule runs. values: name -> tags of all its bytes; made: (first tag,
    name) of every value, ascending; used: tags so far; checked: bytes compared so far."""

    graph: Graph
    plan: Plan
    arenas: list[Memory]
    callers: dict[str, Memory] = field(default_factory=dict)
    values: dict[str, memoryview] = field(default_factory=dict)
    made: list[tuple[int, str]] = field(default_factory=list)
    used: int = 1
    checked: int = 0


def new_value(m: Machine, name: str, size: int) -> memoryview:
    """Tags of their own for `size` bytes."""
    m.made.append((m.used, name))
    m.values[name] = memoryview(np.arange(m.used, m.used + size, dtype="<u4").tobytes())
    m.used += size
    return m.values[name]


def value_of(m: Machine, node: Node) -> None:
    """The tags of a node's output: new ones, or those of the bytes that the node moves unchanged."""
    name = node.outputs[0]
    out = m.graph.tensors[name]

    def tags(tensor: str) -> np.ndarray:
        t = m.graph.tensors[tensor]
        return np.frombuffer(m.values[tensor], f"V{TAG * t.dtype.bytes}").reshape(t.shape)

    if ops.get(node.op).alias:
        m.values[name] = m.values[node.inputs[0]]
    elif node.op == "slice":
        (found,) = ops.get("slice").reference(node.attrs, [tags(node.inputs[0])])
        m.values[name] = memoryview(np.ascontiguousarray(found).tobytes())
    elif node.op == "concat":
        new_value(m, name, out.bytes)
        own = tags(name).copy()
        ends = np.cumsum([0, *(m.graph.tensors[n].shape[node.attrs.axis] for n in node.inputs)])
        for tensor, table, (a, b) in zip(node.inputs, node.attrs.tables, pairwise(ends), strict=True):
            if not table and m.graph.tensors[tensor].data is None:
                own[(slice(None),) * node.attrs.axis + (slice(int(a), int(b)),)] = tags(tensor)
        m.values[name] = memoryview(own.tobytes())
    else:
        new_value(m, name, out.bytes)


def place(m: Machine, name: str) -> tuple[Memory, int]:
    """Where the generated C finds a tensor that is kept whole: in a buffer of the caller's, or in an arena."""
    root = m.plan.storage[name]
    if root in m.callers:
        return m.callers[root], m.plan.tensors[name] - m.plan.offsets[root]
    return m.arenas[m.plan.arena_of(name)], m.plan.tensors[name]


def own_arena(m: Machine, node: str) -> Memory:
    """The arena of a node's scratch, and of all that a stream whose first node it is keeps for itself."""
    return m.arenas[m.plan.own_region.get(node, 0)]


def whole(m: Machine, name: str) -> Piece:
    """All bytes of a tensor."""
    return Piece(*place(m, name), m.values[name], name)


def spread(m: Machine, name: str, pitch: int) -> list[Piece]:
    """All bytes of a tensor whose pixels lie `pitch` bytes apart, 0 for one run of bytes."""
    if not pitch:
        return [whole(m, name)]
    memory, at = place(m, name)
    tensor = m.graph.tensors[name]
    c = pixel_bytes(tensor)
    pixels = range(tensor.bytes // c)
    return [part(memory, at + p * (pitch - c), m.values[name], p * c, (p + 1) * c, name) for p in pixels]


def pixel_bytes(tensor: Tensor) -> int:
    """Of a pixel, the elements along the last axis."""
    return tensor.shape[-1] * tensor.dtype.bytes


def part(memory: Memory, at: int, value: memoryview, start: int, end: int, what: str) -> Piece:
    """Bytes [start, end) of a value whose byte 0 would be at `at`."""
    return Piece(memory, at + start, value[TAG * start : TAG * end], what)


def write(m: Machine, piece: Piece, who: str) -> None:
    """Tags memory."""
    start, end = TAG * piece.at, TAG * piece.at + len(piece.tags)
    inside = start >= 0 and end <= len(piece.memory.tags)
    assert inside, f"{who} writes {piece.what} beyond {piece.memory.name}, at {piece.at}"
    piece.memory.tags[start:end] = piece.tags


def check(m: Machine, piece: Piece, who: str) -> None:
    """Every byte must be what it is meant to be."""
    start = TAG * piece.at
    if start < 0 or piece.memory.tags[start : start + len(piece.tags)] != piece.tags:
        raise AssertionError(_difference(m, piece, who))
    m.checked += piece.bytes


def _difference(m: Machine, piece: Piece, who: str) -> str:
    size = len(piece.memory.tags) // TAG
    if piece.at < 0 or piece.at + piece.bytes > size:
        return f"{who} reads {piece.what} beyond {piece.memory.name}: bytes from {piece.at} on, it has {size}"
    wanted = np.frombuffer(piece.tags, "<u4")
    found = np.frombuffer(bytes(piece.memory.tags[TAG * piece.at : TAG * piece.at + len(piece.tags)]), "<u4")
    i = int(np.flatnonzero(wanted != found)[0])
    there = "nothing was ever written there" if found[i] == 0 else f"{_name(m, int(found[i]))} lies there"
    return f"{who} reads {_name(m, int(wanted[i]))} at {piece.memory.name}+{piece.at + i}: {there}"


def _name(m: Machine, tag: int) -> str:
    first, name = m.made[bisect_right(m.made, tag, key=lambda entry: entry[0]) - 1]
    return f"{name!r} byte {tag - first}"


def overlaps(reads: Iterable[Piece], writes: Sequence[Piece]) -> bool:
    """Some byte is both read and written."""
    return any(
        r.memory is w.memory and r.at < w.at + w.bytes and w.at < r.at + r.bytes for r in reads for w in writes
    )


def run_kernel(
    m: Machine, who: str, kernel: Kernel, reads: Sequence[Piece], writes: Sequence[Piece], scratch: Piece | None
) -> None:
    """One call of a kernel, of which nothing is assumed but that it is in place where it says so: then a byte may be
    read and written that is the same element of input and output. All other reads come after all writes."""
    spots = {(id(w.memory), w.at, w.bytes) for w in writes} if kernel.in_place else set()
    rest = []
    for piece in reads:
        if (id(piece.memory), piece.at, piece.bytes) in spots:
            check(m, piece, who)
        else:
            rest.append(piece)
    if scratch is not None:
        write(m, scratch, who)
    for piece in writes:
        write(m, piece, who)
    for piece in rest:
        check(m, piece, who)
    if scratch is not None:
        check(m, scratch, who)


def row_numbers(rows: Rows, y: int) -> list[int]:
    """The input rows of output row y that are inside the tensor."""
    first = rows.index[y] if rows.index else y * rows.stride - rows.pad
    numbers = range(first, first + rows.count * rows.dilation, rows.dilation)
    return [r for r in numbers if 0 <= r < rows.height]


def column_range(columns: Columns, width: int, x0: int, x1: int) -> tuple[int, int]:
    """From the first to behind the last of an input row's `width` columns that output columns [x0, x1) read."""
    first = min(width, max(0, x0 * columns.stride - columns.pad))
    return first, max(first, min(width, (x1 - 1) * columns.stride - columns.pad + columns.taps))
