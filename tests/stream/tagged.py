"""Runs a schedule and its plan on memory of which every byte knows what was last written to it.

It walks the tree of segments in the order of the generated C (layer.c.j2, stream.c.j2, member.c.j2, mcuc_stream.h) and
shares no code with what it checks: lifetimes, accesses, placement. A byte of memory carries a tag, the number of the
value that was written there: a byte of a tensor, of a scratch, of sums or counters. Every kernel run must find at each
byte that it reads the tag of what it means to read. What a run reads follows from its call: the rows and columns that
an output row and column need, the whole tensor where the call does not say.

The values of layers that only move bytes (reshape, slice, concatenation) are those of their inputs, so that it makes
no difference whether bytes are copied or found where they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from mcuc import ops
from mcuc.ir import Graph, Node
from mcuc.kernels._base import Call, Columns, Kernel, Rows
from mcuc.plan import Plan
from mcuc.schedule import Layer, Line, Schedule, Segment
from mcuc.schedule.stream import Member, segment_members

TAG = 4  # bytes of a tag: one memory byte is a little-endian uint32
LINE, FEED = 8, 12  # sizeof(mcuc_line_t), sizeof(mcuc_feed_t)


@dataclass(frozen=True, eq=False)
class Memory:
    """The tags of an array of bytes."""

    name: str
    tags: bytearray


@dataclass(frozen=True)
class Piece:
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
    """Arena and caller's buffers while a schedule runs. values: name -> tags of all its bytes; made: (first tag, name)
    of every value in ascending order; checked: bytes compared so far."""

    graph: Graph
    plan: Plan
    arena: Memory
    callers: dict[str, Memory] = field(default_factory=dict)
    values: dict[str, memoryview] = field(default_factory=dict)
    made: list[tuple[int, str]] = field(default_factory=list)
    used: int = 1
    checked: int = 0


@dataclass
class Progress:
    """mcuc_line_t: complete rows, columns of the row in work, the first of them in the window."""

    rows: int = 0
    x: int = 0
    first: int = 0


@dataclass(eq=False)
class Running:
    """A stream under way. reads: for each member, tensor -> the row sets that read it; at: tensor -> number of its
    counters; row: where the pushed row lies, if one arrives; early: outputs that stay in the arena until finish."""

    members: tuple[Member, ...]
    reads: list[dict[str, list[Rows]]]
    lines: dict[str, Line]
    steps: tuple[int, ...]
    progress: list[Progress]
    at: dict[str, int]
    state: Piece
    pushed: str | None
    row: tuple[Memory, int] | None = None
    early: frozenset[str] = frozenset()


def execute(graph: Graph, schedule: Schedule, plan: Plan, outside: bool) -> int:
    """Runs the schedule; the bytes that were checked. outside: the caller keeps inputs and outputs, which must be
    disjoint from an arena of `plan.work` bytes, and the inputs intact.

    Raises AssertionError naming the reader, tensor and byte, and what lies there instead.
    """
    size = plan.work if outside else plan.arena
    m = Machine(graph, plan, Memory("arena", bytearray(TAG * size)))
    pushed = next((u.stream.pushed for u in schedule.segments if isinstance(u, Segment) and u.stream), None)
    ends = [n for n in (*graph.inputs, *graph.outputs) if n != pushed]
    assert len({plan.storage[n] for n in ends}) == len(ends), "two of the caller's buffers are one"
    if outside:
        m.callers = {plan.storage[n]: Memory(n, bytearray(TAG * graph.tensors[n].bytes)) for n in ends}
    for name in graph.inputs:
        new_value(m, name, graph.tensors[name].bytes)
        if name != pushed:
            write(m, whole(m, name), "the caller")
    for unit in schedule.segments:
        if isinstance(unit, Layer):
            run_alone(m, unit)
        else:
            run_stream(m, unit, outside)
    for name in graph.outputs:
        check(m, whole(m, name), "the caller, after the run,")
    if outside:
        for name in graph.inputs:
            if name != pushed:
                check(m, whole(m, name), "the caller, after the run,")
    return m.checked


# Values and memory


def new_value(m: Machine, name: str, size: int) -> memoryview:
    """Tags of their own for `size` bytes."""
    m.made.append((m.used, name))
    m.values[name] = memoryview(np.arange(m.used, m.used + size, dtype="<u4").tobytes())
    m.used += size
    return m.values[name]


def value_of(m: Machine, node: Node) -> None:
    """The tags of a node's output: new ones, or those of the bytes that it moves unchanged."""
    name = node.outputs[0]
    out = m.graph.tensors[name]

    def tags(tensor: str) -> np.ndarray:
        return np.frombuffer(m.values[tensor], "<u4").reshape(m.graph.tensors[tensor].shape)

    if ops.get(node.op).alias:
        m.values[name] = m.values[node.inputs[0]]
    elif node.op == "slice":
        (found,) = ops.get("slice").reference(node.attrs, [tags(node.inputs[0])])
        m.values[name] = memoryview(np.ascontiguousarray(found).tobytes())
    elif node.op == "concat":
        own = np.frombuffer(new_value(m, name, out.bytes), "<u4").reshape(out.shape).copy()
        ends = np.cumsum([0, *(m.graph.tensors[n].shape[node.attrs.axis] for n in node.inputs)])
        for tensor, table, (a, b) in zip(node.inputs, node.attrs.tables, pairwise(ends), strict=True):
            if not table:
                own[(slice(None),) * node.attrs.axis + (slice(int(a), int(b)),)] = tags(tensor)
        m.values[name] = memoryview(own.tobytes())
    else:
        new_value(m, name, out.bytes)


def place(m: Machine, name: str) -> tuple[Memory, int]:
    """Where the generated C finds a tensor that is kept whole: in a buffer of the caller's, or in the arena."""
    root = m.plan.storage[name]
    if root in m.callers:
        return m.callers[root], m.plan.tensors[name] - m.plan.tensors[root]
    return m.arena, m.plan.tensors[name]


def whole(m: Machine, name: str) -> Piece:
    """All bytes of a tensor."""
    return Piece(*place(m, name), m.values[name], name)


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


# One kernel run


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
    spots = {(w.memory.name, w.at, w.bytes) for w in writes} if kernel.in_place else set()
    rest = []
    for piece in reads:
        if (piece.memory.name, piece.at, piece.bytes) in spots:
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


def column_bytes(columns: Columns, row_bytes: int, x0: int, x1: int) -> tuple[int, int]:
    """The bytes of a row between the first and the last column that output columns [x0, x1) read."""
    first = max(0, x0 * columns.stride - columns.pad)
    end = min(row_bytes // columns.pixel_bytes, (x1 - 1) * columns.stride - columns.pad + columns.taps)
    return first * columns.pixel_bytes, max(first, end) * columns.pixel_bytes


def written(call: Call, y: int, x0: int, x1: int, c0: int, c1: int) -> list[tuple[int, int]]:
    """The bytes [start, end) of the output that columns [x0, x1) and channels [c0, c1) of row y are."""
    start = call.out_offset + y * call.out_row_bytes + x0 * call.out_stride + c0
    end = start + (x1 - x0) * call.out_stride
    if c1 - c0 == call.out_stride:
        return [(start, end)]
    return [(p, p + c1 - c0) for p in range(start, end, call.out_stride)]


# Layers that run alone


def run_alone(m: Machine, layer: Layer) -> None:
    """The loops of layer.c.j2: calls, rows, blocks of columns, blocks of channels."""
    who, out = layer.node.name, layer.node.outputs[0]
    value_of(m, layer.node)
    for call, kernel in layer.calls:
        tiling = layer.tiling
        columns = tiling.columns if 0 < tiling.columns < call.width else call.width
        channels = tiling.channels if 0 < tiling.channels < call.channels and not call.whole_channels else call.channels
        scratch = None
        if kernel.scratch(call):
            tags = new_value(m, f"scratch of {who}", kernel.scratch(call))
            scratch = Piece(m.arena, m.plan.scratch[who], tags, f"scratch of {who}")
        for y in range(call.height):
            for x in range(0, call.width, columns):
                for c in range(0, call.channels, channels):
                    x1, c1 = min(call.width, x + columns), min(call.channels, c + channels)
                    run_row(m, layer, call, kernel, scratch, y, x, x1, c, c1)
    if layer.calls:
        check(m, whole(m, out), f"what follows {who}")


def run_row(
    m: Machine,
    layer: Layer,
    call: Call,
    kernel: Kernel,
    scratch: Piece | None,
    y: int,
    x0: int,
    x1: int,
    c0: int,
    c1: int,
) -> None:
    """One kernel run of a layer alone: of one long row pixel by pixel, where the kernel is in order and it matters."""
    who, out = layer.node.name, layer.node.outputs[0]
    memory, at = place(m, out)

    def pieces(a: int, b: int) -> tuple[list[Piece], list[Piece]]:
        spots = written(call, y, a, b, c0, c1)
        writes = [part(memory, at, m.values[out], start, end, out) for start, end in spots]
        return reads_alone(m, layer, call, kernel, y, a, b, spots), writes

    reads, writes = pieces(x0, x1)
    if call.height > 1 or not kernel.in_order or not overlaps(reads, writes):
        run_kernel(m, who, kernel, reads, writes, scratch)
        return
    for x in range(x0, x1):
        run_kernel(m, who, kernel, *pieces(x, x + 1), scratch)


def reads_alone(
    m: Machine, layer: Layer, call: Call, kernel: Kernel, y: int, x0: int, x1: int, spots: Sequence[tuple[int, int]]
) -> list[Piece]:
    """What columns [x0, x1) of output row y read. spots: the output bytes that they write, which are what a kernel that
    may be in place reads of an input as large as the output."""
    names = m.graph.runtime_inputs(layer.node)
    size = m.graph.tensors[layer.node.outputs[0]].bytes
    found = []
    for rows in call.rows:
        name = names[rows.input]
        memory, at = place(m, name)
        if kernel.in_place and call.out_row_bytes * call.height == m.graph.tensors[name].bytes == size:
            found += [part(memory, at, m.values[name], start, end, name) for start, end in spots]
        elif rows.columns is None:
            found.append(whole(m, name))
        else:
            start, end = column_bytes(rows.columns, rows.row_bytes, x0, x1)
            for r in row_numbers(rows, y):
                row = r * rows.row_bytes
                found.append(part(memory, at, m.values[name], row + start, row + end, name))
    return found


# Streams


def run_stream(m: Machine, segment: Segment, outside: bool) -> None:
    """The loop of stream.c.j2, and before and after it what begin and finish do where the input arrives by rows."""
    stream = segment.stream
    assert stream is not None
    members = segment_members(segment, m.graph)
    first = members[0].layer.node.name
    for member in members:
        value_of(m, member.layer.node)
    at = {member.output: j for j, member in enumerate(members)}
    feed = 0
    if stream.pushed is not None:
        at[stream.pushed] = len(members)
        feed = FEED
    tags = new_value(m, f"counters of {first}", feed + LINE * len(at))
    state = Piece(m.arena, m.plan.state[first], tags, "counters")
    reads = [reads_by_tensor(m, member) for member in members]
    counters = [Progress() for _ in at]
    s = Running(members, reads, dict(stream.lines), stream.steps, counters, at, state, stream.pushed)
    if stream.pushed is not None:
        s.early = frozenset(m.graph.outputs)
        s.row = _push_buffer(m, stream.pushed, outside)
    write(m, state, first)
    for member in members:
        if member.layer.reduction is not None:
            sums = new_value(m, f"sums of {member.layer.node.name}", member.layer.reduction.state_bytes)
            write(m, Piece(m.arena, m.plan.scratch[member.layer.node.name], sums, "sums"), member.layer.node.name)
    for now in stream.passes:
        run_pass(m, s, now)
    for member in members:
        if not member.sink:
            continue
        if member.output in s.early:
            lies = Piece(m.arena, m.plan.tensors[member.output], m.values[member.output], member.output)
            check(m, lies, "finish")
            write(m, whole(m, member.output), "finish")
        check(m, whole(m, member.output), f"what follows {first}")


def reads_by_tensor(m: Machine, member: Member) -> dict[str, list[Rows]]:
    """The row sets of the member's calls, by the tensor that they read."""
    names = m.graph.runtime_inputs(member.layer.node)
    found: dict[str, list[Rows]] = {}
    for call, _ in member.layer.calls:
        for rows in call.rows:
            found.setdefault(names[rows.input], []).append(rows)
    return found


def _push_buffer(m: Machine, name: str, outside: bool) -> tuple[Memory, int]:
    """Where the caller puts the next row: in a buffer of the arena, or in one of its own."""
    if not outside:
        return m.arena, m.plan.lines[f"{name}/row"]
    _, _, width, channels = m.graph.tensors[name].shape
    return Memory("the pushed row", bytearray(TAG * width * channels)), 0


def kept(m: Machine, s: Running, name: str) -> tuple[Memory, int]:
    """Where a tensor lies that the stream reads or writes whole."""
    return (m.arena, m.plan.tensors[name]) if name in s.early else place(m, name)


def run_pass(m: Machine, s: Running, now: int) -> None:
    """One pass: members in order, column by column in a stream of blocks, until nobody has anything left to do."""
    pushing = s.pushed is not None and bool(now >> len(s.members) & 1)
    if pushing:
        take_row(m, s)
    firing = [j for j in range(len(s.members)) if now >> j & 1]
    if not s.steps:
        for j in firing:
            run_member(m, s, j, 0)
            s.progress[j].rows += 1
    else:
        busy = True
        while busy:
            before = [(p.x, p.first) for p in s.progress]
            left = [run_member(m, s, j, s.steps[j]) for j in firing]
            busy = any(left)
            for j in firing:
                if not s.members[j].sink:
                    retire(m, s, j, firing)
            moved = before != [(p.x, p.first) for p in s.progress]
            assert moved or not busy, f"a pass of {s.members[0].layer.node.name} makes no progress"
        for j in firing:
            next_row(s.progress[j])
    if pushing:
        keep_row(m, s)


def take_row(m: Machine, s: Running) -> None:
    """The caller writes the next row."""
    assert s.pushed is not None and s.row is not None
    line, progress = s.lines[s.pushed], s.progress[s.at[s.pushed]]
    row = line.width * line.pixel_bytes
    assert progress.rows < m.graph.tensors[s.pushed].shape[1], "more rows are taken in than the input has"
    start = progress.rows * row
    write(m, part(s.row[0], s.row[1] - start, m.values[s.pushed], start, start + row, s.pushed), "the caller")
    check(m, s.state, "the stream")
    progress.x = line.width


def keep_row(m: Machine, s: Running) -> None:
    """After the pass the row is copied to its slot."""
    assert s.pushed is not None and s.row is not None
    line, progress = s.lines[s.pushed], s.progress[s.at[s.pushed]]
    row = line.width * line.pixel_bytes
    start = progress.rows * row
    if line.slots:
        check(m, part(s.row[0], s.row[1] - start, m.values[s.pushed], start, start + row, s.pushed), "the stream")
        slot = m.plan.lines[s.pushed] + progress.rows % line.slots * row
        write(m, part(m.arena, slot - start, m.values[s.pushed], start, start + row, s.pushed), "the stream")
    next_row(progress)


def next_row(progress: Progress) -> None:
    progress.rows += 1
    progress.x = progress.first = 0


def run_member(m: Machine, s: Running, j: int, step: int) -> bool:
    """The next columns of member j's next row (member.c.j2); whether its row is not complete."""
    member, progress = s.members[j], s.progress[j]
    layer, who, out = member.layer, member.layer.node.name, member.output
    y, x = progress.rows, progress.x
    check(m, s.state, who)
    assert y < member.height, f"{who} is to compute row {y} of {member.height}"
    end = min(x + step, member.width) if step else member.width
    if step:
        for name in member.inside:
            end = min(end, reachable(s, j, name, y))
        if end <= x:
            return x < member.width
    value = m.values[out]
    sums = None
    if layer.reduction is not None:
        tags = m.values[f"sums of {who}"]
        sums = Piece(m.arena, m.plan.scratch[who], tags, "sums")
        check(m, sums, who)
    for call, kernel in layer.calls:
        reads = [piece for rows in call.rows for piece in reads_in_stream(m, s, member, rows, y, x, end)]
        writes: list[Piece] = []
        scratch = sums
        if layer.reduction is None:
            memory, base = destination(m, s, j, y, x, end)
            spots = written(call, y, x, end, 0, call.channels)
            writes = [part(memory, base, value, a, b, out) for a, b in spots]
            if kernel.scratch(call):
                tags = m.values.get(f"scratch of {who}") or new_value(m, f"scratch of {who}", layer.scratch)
                scratch = Piece(m.arena, m.plan.scratch[who], tags[: TAG * kernel.scratch(call)], "scratch")
        run_kernel(m, who, kernel, reads, writes, scratch)
    if layer.reduction is None:
        memory, base = destination(m, s, j, y, x, end)
        row, pixel = member.width, m.graph.tensors[out].shape[3]
        traced = part(memory, base, value, (y * row + x) * pixel, (y * row + end) * pixel, out)
        check(m, traced, who)
    elif y == member.height - 1 and end == member.width:
        assert sums is not None
        call, kernel = layer.reduction.finish
        spots = written(call, 0, 0, call.width, 0, call.channels)
        writes = [part(*kept(m, s, out), value, a, b, out) for a, b in spots]
        run_kernel(m, who, kernel, [sums], writes, None)
    if step:
        progress.x = end
    return end < member.width


def destination(m: Machine, s: Running, j: int, y: int, x: int, end: int) -> tuple[Memory, int]:
    """Where byte 0 of the member's output would be, as columns [x, end) of row y see it."""
    member = s.members[j]
    if member.sink:
        return kept(m, s, member.output)
    line, at, first = s.lines[member.output], m.plan.lines[member.output], s.progress[j].first
    row = line.width * line.pixel_bytes
    if s.steps:
        fits = end - first <= line.window
        assert fits, f"{member.layer.node.name} needs {end - first} columns of a window of {line.window}"
        return m.arena, at + line.slots_bytes - first * line.pixel_bytes - y * row
    assert line.slots > 0, f"{member.output!r} has no slot to be written to"
    return m.arena, at + (y % line.slots - y) * row


def reads_in_stream(
    m: Machine, s: Running, member: Member, rows: Rows, y: int, x0: int, x1: int
) -> list[Piece]:
    """What columns [x0, x1) of the member's row y read: of tensors inside the stream whole rows where the call does not
    say which columns, of others the whole tensor."""
    name = m.graph.runtime_inputs(member.layer.node)[rows.input]
    value = m.values[name]
    if name not in s.lines and rows.columns is None and name not in s.at:
        return [Piece(*kept(m, s, name), value, name)]
    start, end = 0, rows.row_bytes
    if rows.columns is not None:
        start, end = column_bytes(rows.columns, rows.row_bytes, x0, x1)
    found = []
    for r in row_numbers(rows, y):
        memory, at = row_place(m, s, name, r, rows.row_bytes, member.layer.node.name)
        row = r * rows.row_bytes
        found.append(part(memory, at - row, value, row + start, row + end, name))
    return found


def row_place(m: Machine, s: Running, name: str, r: int, row_bytes: int, who: str) -> tuple[Memory, int]:
    """mcuc_line_row: a complete row lies in its slot, the row in work in the window."""
    if name not in s.lines:
        memory, at = kept(m, s, name)
        return memory, at + r * row_bytes
    line, progress = s.lines[name], s.progress[s.at[name]]
    if line.slots and r < progress.rows:
        return m.arena, m.plan.lines[name] + r % line.slots * row_bytes
    before = progress.first * line.pixel_bytes
    if name == s.pushed:
        assert s.row is not None
        return s.row[0], s.row[1] - before
    assert s.steps, f"{who} reads row {r} of {name!r}, which is not there"
    return m.arena, m.plan.lines[name] + line.slots_bytes - before


def reachable(s: Running, j: int, name: str, y: int) -> int:
    """Output columns that the columns allow which are there of the last row of an input that output row y needs."""
    member, rows, columns = s.members[j], s.reads[j][name][0], common_columns(s.reads[j][name])
    line, progress = s.lines.get(name), s.progress[s.at[name]]
    last = rows.index[y] if rows.index else y * rows.stride - rows.pad + (rows.count - 1) * rows.dilation
    width = s.members[s.at[name]].width if line is None else line.width
    there = width if min(last, rows.height - 1) < progress.rows else progress.x
    if there >= width:
        return member.width
    if columns is None:
        return 0
    return min(member.width, max(0, (there + columns.pad - columns.taps) // columns.stride + 1))


def retire(m: Machine, s: Running, j: int, firing: Sequence[int]) -> None:
    """mcuc_retire: columns that no reader of this pass needs leave the window for the row's slot."""
    name, progress = s.members[j].output, s.progress[j]
    line, at, who = s.lines[name], m.plan.lines[name], f"the stream, retiring {name!r},"
    free = progress.x
    for k in firing:
        if name in s.reads[k]:
            columns, x = common_columns(s.reads[k][name]), s.progress[k].x
            done = x >= s.members[k].width
            needed = 0 if columns is None else min(line.width, max(0, x * columns.stride - columns.pad))
            free = min(free, line.width if done else needed)
    if free <= progress.first:
        return
    check(m, s.state, who)
    row = progress.rows * line.width * line.pixel_bytes
    first, middle, end = (row + x * line.pixel_bytes for x in (progress.first, free, progress.x))
    window, value = at + line.slots_bytes, m.values[name]
    if line.slots:
        check(m, part(m.arena, window - first, value, first, middle, name), who)
        slot = at + progress.rows % line.slots * line.width * line.pixel_bytes
        write(m, part(m.arena, slot - row, value, first, middle, name), who)
    check(m, part(m.arena, window - first, value, middle, end, name), who)
    write(m, part(m.arena, window - middle, value, middle, end, name), who)
    progress.first = free


def common_columns(reads: Sequence[Rows]) -> Columns | None:
    """The columns that all row sets read, None where one of them reads whole rows or they differ."""
    columns = reads[0].columns
    return columns if all(r.columns == columns for r in reads) else None
