"""When the bytes of each tensor are written first and read last, in ticks: the finest steps of time of a schedule.

A layer that runs alone has a tick an output row (or a share of its pixels where it runs as one long row); a stream has
a tick a pass. Within a tick everything that it touches is alive, so nothing is assumed about the order inside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mcuc.ir import Graph
from mcuc.kernels._base import Call, Columns, Kernel, Rows
from mcuc.schedule import Layer, Segment, Stream, Tiling
from mcuc.schedule.access import Reads, grid, reads_of
from mcuc.schedule.stream import Member, segment_members
from mcuc.schedule.views import spread

TICKS = 48  # of a layer that runs alone, at most: finer ones would seldom save a byte
Pieces = tuple[tuple[int, int, int], ...]  # (start, end, tick): bytes [start, end) of a tensor, ascending


@dataclass(frozen=True)
class Accesses:
    """One unit of a schedule. reads: tensor -> last tick that reads the bytes; writes: tensor -> first tick that
    writes them, counted from the unit's first tick. Bytes that are not named are not touched. Where an output's pixels
    lie apart in another tensor, whole rows of that one count, from the pixel of which the first one is a part."""

    ticks: int
    reads: Mapping[str, Pieces]
    writes: Mapping[str, Pieces]


def accesses(unit: Layer | Segment, graph: Graph) -> Accesses:
    """The accesses of a layer that runs alone or of a stream."""
    if isinstance(unit, Layer):
        return _layer(unit, graph)
    assert unit.stream is not None
    return stream_accesses(unit.stream, segment_members(unit, graph), graph)


def _layer(layer: Layer, graph: Graph) -> Accesses:
    names = graph.runtime_inputs(layer.node)
    output = layer.node.outputs[0]
    size = spread(graph.tensors[output], layer.pitch)
    counts = [1 if layer.block else _ticks(call, kernel, layer.tiling) for call, kernel in layer.calls]
    found: dict[str, list[Pieces]] = {}
    writes: Pieces = ((0, size, 0),)
    begin = 0
    for (call, _), count in zip(layer.calls, counts, strict=True):
        for rows in call.rows:
            name = names[rows.input]
            total = graph.tensors[name].bytes
            if count == 1 or rows.columns is None:
                pieces: Pieces = ((0, total, begin + count - 1),)
            elif call.height == 1:  # one long row, cut by columns
                need, width = reads_of((rows,), 1), rows.row_bytes if rows.count > 1 else total
                cuts = _columns(call.width, count, rows.columns, width)
                pieces = merged(
                    (y * rows.row_bytes + low, y * rows.row_bytes + high, begin + k)
                    for y in range(need.first[0], need.last[0] + 1)
                    for k, (low, high) in enumerate(cuts)
                )
            else:
                ticks = [begin + y * count // call.height for y in range(call.height)]
                pieces = _by_rows(reads_of((rows,), call.height), ticks, rows.height, rows.row_bytes)
            found.setdefault(name, []).append(pieces)
        if len(layer.calls) == 1 and count > 1:
            writes = _written(call, count)
        begin += count
    return Accesses(max(1, begin), {n: latest(p) for n, p in found.items()}, {output: writes} if layer.calls else {})


def _ticks(call: Call, kernel: Kernel, tiling: Tiling) -> int:
    if call.height > 1:
        return min(TICKS, call.height)
    if 0 < tiling.channels < call.channels and not call.whole_channels:
        return 1  # the row is gone through once for every block of channels
    cut = kernel.in_order and all(r.columns is not None and r.columns.taps == r.columns.stride == 1 for r in call.rows)
    return min(TICKS, max(1, call.width // 4)) if cut and call.width * call.out_stride == call.out_row_bytes else 1


def _columns(width: int, count: int, columns: Columns, total: int) -> list[tuple[int, int]]:
    """The bytes of an input row of `total` that each of `count` shares of a row of `width` output columns reads."""
    at = [k * width // count * columns.pixel_bytes for k in range(count + 1)]
    cuts = [min(max(0, b - columns.pad * columns.pixel_bytes), total) for b in at]
    return list(pairwise(cuts))


def _written(call: Call, count: int) -> Pieces:
    if call.height == 1:
        cuts = [k * call.width // count * call.out_stride for k in range(count + 1)]
        return tuple((cuts[k], cuts[k + 1], k) for k in range(count))
    rows = range(call.height)
    return merged(
        (y * call.out_row_bytes, (y + 1) * call.out_row_bytes, y * count // call.height) for y in rows
    )


def _by_rows(reads: Reads, ticks: Sequence[int], height: int, row_bytes: int) -> Pieces:
    """For every input row that is read, the last tick of an output row that reads it."""
    last: dict[int, int] = {}
    for y, (low, high) in enumerate(zip(reads.first, reads.last, strict=True)):
        for r in range(low, high + 1):
            last[r] = max(last.get(r, -1), ticks[y])
    return merged((r * row_bytes, (r + 1) * row_bytes, last[r]) for r in sorted(last) if r < height)


def stream_accesses(stream: Stream, members: Sequence[Member], graph: Graph) -> Accesses:
    """The accesses of a stream to tensors that are kept whole.

    In strips every row is written in part from the first strip on and read until the last: whole rows count.
    """
    if stream.blocks:
        return _block_accesses(stream, members, graph)
    passes = len(stream.passes)
    last = stream.ticks - passes  # tick of the first pass of the last strip, or group of channels
    first = last if stream.group else 0
    found: dict[str, list[Pieces]] = {}
    writes: dict[str, Pieces] = {}
    for j, member in enumerate(members):
        row_pass = [p for p in range(passes) if stream.passes[p] >> j & 1]
        if not row_pass:  # the layers behind it read padding alone
            continue
        read_at = [last + p for p in row_pass]
        for name, rows in _outside(member, graph):
            if rows.columns is None or rows.height == 1:
                pieces: Pieces = ((0, graph.tensors[name].bytes, read_at[-1]),)
            else:
                pieces = _by_rows(reads_of((rows,), len(row_pass)), read_at, rows.height, rows.row_bytes)
            found.setdefault(name, []).append(pieces)
        if member.sink:
            size = graph.tensors[member.output].bytes
            if member.layer.reduction is not None:
                writes[member.output] = ((0, size, read_at[-1]),)
            else:
                row = grid(graph, member.output).row_bytes
                writes[member.output] = merged((y * row, (y + 1) * row, first + p) for y, p in enumerate(row_pass))
    return Accesses(stream.ticks, {n: latest(p) for n, p in found.items()}, writes)


def _block_accesses(stream: Stream, members: Sequence[Member], graph: Graph) -> Accesses:
    """Of a stream of token blocks: a tick for each member's run over a block. What is read from other columns is in
    use to the member's last run."""
    block, count, every = stream.steps[0], stream.blocks, len(members)

    def by_blocks(name: str, j: int) -> Pieces:
        g = grid(graph, name)
        cuts = [min(k * block, g.width) * g.pixel_bytes for k in range(count + 1)]
        return tuple((cuts[k], cuts[k + 1], k * every + j) for k in range(count))

    found: dict[str, list[Pieces]] = {}
    writes: dict[str, Pieces] = {}
    for j, member in enumerate(members):
        for name, rows in _outside(member, graph):
            g = grid(graph, name)
            pixel = rows.columns is not None and rows.columns == Columns(g.pixel_bytes)
            alike = pixel and g.height == 1 and g.width == member.width and rows.row_bytes == g.row_bytes
            end = (count - 1) * every + j
            pieces = by_blocks(name, j) if alike else ((0, graph.tensors[name].bytes, end),)
            found.setdefault(name, []).append(pieces)
        if member.sink:
            writes[member.output] = by_blocks(member.output, j)
    return Accesses(stream.ticks, {n: latest(p) for n, p in found.items()}, writes)


def _outside(member: Member, graph: Graph) -> list[tuple[str, Rows]]:
    """What the member reads of tensors that are kept whole; their rows may be others than the images' (a copy that
    reshapes)."""
    names = graph.runtime_inputs(member.layer.node)
    return [(n, r) for call, _ in member.layer.calls for r in call.rows if (n := names[r.input]) in member.outside]


def merged(pieces: Iterable[tuple[int, int, int]]) -> Pieces:
    """Ascending pieces with neighbours of the same tick joined."""
    out: list[tuple[int, int, int]] = []
    for start, end, tick in pieces:
        if out and out[-1][1] == start and out[-1][2] == tick:
            out[-1] = (out[-1][0], end, tick)
        elif end > start:
            out.append((start, end, tick))
    return tuple(out)


def latest(parts: Sequence[Pieces]) -> Pieces:
    """Several readers of one tensor: for every byte the latest tick."""
    if len(parts) == 1:
        return parts[0]
    cuts = sorted({at for pieces in parts for start, end, _ in pieces for at in (start, end)})
    out = []
    for start, end in pairwise(cuts):
        ticks = [t for pieces in parts for s, e, t in pieces if s <= start and end <= e]
        if ticks:
            out.append((start, end, max(ticks)))
    return merged(out)
