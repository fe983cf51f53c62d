"""Streams on tagged memory: passes, members, steps, windows, slots, strips and groups as the generated C has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from machine import (
    TAG,
    Machine,
    Memory,
    Piece,
    check,
    column_range,
    new_value,
    own_arena,
    part,
    pixel_bytes,
    place,
    row_numbers,
    run_kernel,
    spread,
    value_of,
    whole,
    write,
)

from mcuc.kernels._base import Call, Columns, Kernel, Rows
from mcuc.schedule import Segment, Stream
from mcuc.schedule.groups import Bottleneck, bottleneck
from mcuc.schedule.stream import Member, segment_members

LINE, FEED, SUM = 8, 12, 4  # sizeof(mcuc_line_t), sizeof(mcuc_feed_t), sizeof(int32_t)


@dataclass
class Progress:
    """mcuc_line_t: complete rows, columns of the row in work, the first of them in the window."""

    rows: int = 0
    x: int = 0
    first: int = 0


class Row(NamedTuple):
    """Where channels [c0, c1) of a row's pixels lie: pixel x `stride` bytes after pixel x - 1, pixel 0 at `at`."""

    memory: Memory
    at: int
    stride: int
    c0: int
    c1: int


@dataclass(eq=False)
class Running:
    """A stream under way. reads: for each member, tensor -> the row sets that read it; counters: by number, those of a
    pushed row are the last; state: where they lie; strip: the columns of each member; channels: of the group in work;
    row: where the pushed row lies; early: outputs that stay in the arena until finish."""

    stream: Stream
    members: tuple[Member, ...]
    reads: list[dict[str, list[Rows]]]
    number: dict[str, int]
    arena: Memory
    state: Piece
    counters: list[Progress] = field(default_factory=list)
    strip: list[tuple[int, int]] = field(default_factory=list)
    grouped: Bottleneck | None = None
    channels: tuple[int, int] = (0, 0)
    row: tuple[Memory, int] | None = None
    early: frozenset[str] = frozenset()


def run_stream(m: Machine, segment: Segment, outside: bool) -> None:
    """All passes, for every strip or group; before and after them what begin and finish do with rows that arrive."""
    s = _begin(m, segment, outside)
    who = s.members[0].layer.node.name
    full = [(0, member.width) for member in s.members]
    for strip in s.stream.strips or (full,):
        s.strip = list(strip)
        cuts = range(0, s.grouped.channels, s.grouped.group) if s.grouped else (0,)
        for c in cuts:
            if s.grouped:
                s.channels = c, min(c + s.grouped.group, s.grouped.channels)
            s.counters = [Progress(0, begin, begin) for begin, _ in s.strip]
            s.counters += [Progress() for _ in range(len(s.number) - len(s.members))]
            write(m, s.state, who)
            if s.stream.pushed is None:
                for now in s.stream.passes:
                    _run_pass(m, s, now)
            else:
                _push_rows(m, s)
    for member in s.members:
        name = member.output
        if not member.sink:
            continue
        if name in s.early:
            check(m, Piece(*_kept(m, s, name), m.values[name], name), "finish")
            write(m, whole(m, name), "finish")
        for piece in spread(m, name, member.layer.pitch):
            check(m, piece, f"what follows the stream of {who}")


def _begin(m: Machine, segment: Segment, outside: bool) -> Running:
    stream = segment.stream
    assert stream is not None
    members = segment_members(segment, m.graph)
    first = members[0].layer.node.name
    for member in members:
        value_of(m, member.layer.node)
    number = {member.output: j for j, member in enumerate(members)}
    feed = 0
    if stream.pushed is not None:
        number[stream.pushed] = len(members)
        feed = FEED
    arena = own_arena(m, first)
    tags = new_value(m, f"counters of {first}", feed + LINE * len(number))
    state = Piece(arena, m.plan.state[first], tags, "counters")
    s = Running(stream, members, [_by_tensor(m, member) for member in members], number, arena, state)
    if stream.group:
        s.grouped = bottleneck(members, stream.group)
        assert s.grouped is not None
    if stream.pushed is not None:
        roots = {m.plan.storage[n] for n in m.graph.outputs}
        s.early = frozenset(n for n in number if m.plan.storage.get(n) in roots)
        pushed = m.graph.tensors[stream.pushed]
        s.row = Memory("the pushed row", bytearray(TAG * pushed.shape[2] * pixel_bytes(pushed))), 0
        if not outside:
            buffer = f"{stream.pushed}/row"
            s.row = m.arenas[m.plan.arena_of(buffer)], m.plan.lines[buffer]
    for member in members:
        if member.layer.reduction is not None:
            new_value(m, f"sums of {member.layer.node.name}", member.layer.reduction.state_bytes)
            write(m, _sums(m, s, member), first)
    return s


def _by_tensor(m: Machine, member: Member) -> dict[str, list[Rows]]:
    """The row sets of the member's calls, by the tensor that they read."""
    names = m.graph.runtime_inputs(member.layer.node)
    found: dict[str, list[Rows]] = {}
    for call, _ in member.layer.calls:
        for rows in call.rows:
            found.setdefault(names[rows.input], []).append(rows)
    return found


def _sums(m: Machine, s: Running, member: Member) -> Piece:
    who = member.layer.node.name
    return Piece(s.arena, m.plan.scratch[who], m.values[f"sums of {who}"], f"sums of {who}")


# Passes


def _run_pass(m: Machine, s: Running, now: int) -> None:
    """Members in order, in a stream of blocks column by column until nobody has anything left to do."""
    firing = [j for j in range(len(s.members)) if now >> j & 1]
    if not s.stream.steps:
        for j in firing:
            _run_member(m, s, j, 0)
            s.counters[j].rows += 1
            _count(m, s, j)
    else:
        busy = True
        while busy:
            before = [(p.x, p.first) for p in s.counters]
            left = [_run_member(m, s, j, s.stream.steps[j]) for j in firing]
            busy = any(left)
            for j in firing:
                if not s.members[j].sink:
                    _retire(m, s, j, firing)
            moved = before != [(p.x, p.first) for p in s.counters]
            assert moved or not busy, f"a pass of the stream of {s.members[0].layer.node.name} makes no progress"
        for j in firing:
            _next_row(m, s, j, s.strip[j][0])


def _count(m: Machine, s: Running, j: int) -> None:
    """The counters of a line are written."""
    check(m, s.state, "the stream")
    start = s.state.bytes - LINE * (len(s.number) - j)
    write(m, part(s.arena, s.state.at, s.state.tags, start, start + LINE, "counters"), "the stream")


def _next_row(m: Machine, s: Running, j: int, begin: int) -> None:
    counters = s.counters[j]
    counters.rows += 1
    counters.x = counters.first = begin
    _count(m, s, j)


def _push_rows(m: Machine, s: Running) -> None:
    """The caller writes row after row, and calls for each: one pass that takes it in, and those up to the next one."""
    name, passes, done = s.stream.pushed, s.stream.passes, 0
    assert name is not None and s.row is not None
    line = s.stream.lines[name]
    for r in range(m.graph.tensors[name].shape[1]):
        check(m, s.state, "the stream")
        write(m, _row_piece(m, s, name, r, *s.row), "the caller")
        taken = False
        while done < len(passes):
            takes = bool(passes[done] >> len(s.members) & 1)
            if takes and taken:
                break
            taken = taken or takes
            if takes:
                assert s.counters[s.number[name]].rows == r, f"row {r} of {name!r} is taken in at another's place"
                s.counters[s.number[name]].x = line.width
                _count(m, s, s.number[name])
            _run_pass(m, s, passes[done])
            if takes:
                _keep_row(m, s)
            done += 1
        check(m, s.state, "the stream")
        write(m, part(s.arena, s.state.at, s.state.tags, 0, FEED, "counters"), "the stream")


def _keep_row(m: Machine, s: Running) -> None:
    """After the pass the row is copied to its slot."""
    name = s.stream.pushed
    assert name is not None and s.row is not None
    line, counters = s.stream.lines[name], s.counters[s.number[name]]
    if line.slots:
        check(m, _row_piece(m, s, name, counters.rows, *s.row), "the stream")
        slot = m.plan.lines[name] + counters.rows % line.slots * line.width * line.pixel_bytes
        write(m, _row_piece(m, s, name, counters.rows, s.arena, slot), "the stream")
    _next_row(m, s, s.number[name], 0)


def _row_piece(m: Machine, s: Running, name: str, r: int, memory: Memory, at: int) -> Piece:
    row = s.stream.lines[name].width * s.stream.lines[name].pixel_bytes
    return part(memory, at - r * row, m.values[name], r * row, (r + 1) * row, name)


# Members


def _run_member(m: Machine, s: Running, j: int, step: int) -> bool:
    """The next columns of member j's next row (member.c.j2); whether its row is not complete."""
    member, counters, (begin, last) = s.members[j], s.counters[j], s.strip[j]
    layer, who, out = member.layer, member.layer.node.name, member.output
    check(m, s.state, who)
    y = counters.rows
    assert y < member.height, f"{who} is to compute row {y} of {member.height}"
    x, end = begin, last
    if step:
        x = counters.x
        end = min(x + step, last, *(_reachable(m, s, j, name, y) for name in member.inside))
        pixels = max(kernel.pixels for _, kernel in layer.calls)
        if end < last and end > x:
            end -= (end - x) % pixels
        if end <= x:
            return x < last
    calls = layer.calls
    if s.grouped:
        calls = ((s.grouped.expand, s.grouped.depthwise, s.grouped.add)[j],)
    for call, kernel in calls:
        reads = [piece for rows in call.rows for piece in _reads(m, s, j, rows, y, x, end)]
        if layer.reduction is not None:
            check(m, _sums(m, s, member), who)
            run_kernel(m, who, kernel, reads, [], _sums(m, s, member))
        elif s.grouped and member.sink:
            _add_to_sums(m, s, member, kernel, reads, y)
        else:
            writes = _pixels(m, s, _destination(m, s, j, y, end), out, y, x, end, call.out_offset, call.channels)
            run_kernel(m, who, kernel, reads, writes, _scratch(m, s, member, call, kernel))
    if layer.reduction is not None:
        if y == member.height - 1 and end == member.width:
            call, kernel = layer.reduction.finish
            memory, at = _kept(m, s, out)
            made = part(memory, at, m.values[out], 0, call.width * call.channels, out)
            run_kernel(m, who, kernel, [_sums(m, s, member)], [made], None)
    elif not (s.grouped and member.sink) or s.channels[1] == s.grouped.channels:
        for piece in _pixels(m, s, _destination(m, s, j, y, end), out, y, x, end):
            check(m, piece, f"the trace of {who}")
    if step:
        counters.x = end
        _count(m, s, j)
    return end < last


def _scratch(m: Machine, s: Running, member: Member, call: Call, kernel: Kernel) -> Piece | None:
    who, size = member.layer.node.name, kernel.scratch(call)
    if not size:
        return None
    name = f"scratch of {who}"
    tags = m.values.get(name) or new_value(m, name, member.layer.scratch)
    return Piece(s.arena, m.plan.scratch[who], tags[: TAG * size], name)


def _add_to_sums(m: Machine, s: Running, member: Member, kernel: Kernel, reads: Sequence[Piece], y: int) -> None:
    """The project of a bottleneck: a row's sums after this group; with the last group they become the output's row."""
    assert s.grouped is not None
    who, out, row = member.layer.node.name, member.output, s.grouped.row_bytes
    at = m.plan.scratch[who] + y * row

    def sums(group: int) -> Piece:
        name = f"sums of {who}, group {group}"
        value = m.values.get(name) or new_value(m, name, row * member.height)
        return part(s.arena, at - y * row, value, y * row, (y + 1) * row, name)

    group = s.channels[0] // s.grouped.group
    if group:
        check(m, sums(group - 1), who)
    run_kernel(m, who, kernel, reads, [], sums(group))
    if s.channels[1] == s.grouped.channels:
        line = _destination(m, s, s.number[out], y, member.width)
        writes = _pixels(m, s, line, out, y, 0, member.width)
        run_kernel(m, who, s.grouped.finish[1], [sums(group)], writes, None)


def _kept(m: Machine, s: Running, name: str) -> tuple[Memory, int]:
    """Where a tensor lies that is kept whole."""
    return (m.arenas[m.plan.arena_of(name)], m.plan.tensors[name]) if name in s.early else place(m, name)


def _destination(m: Machine, s: Running, j: int, y: int, end: int) -> Row:
    """Where the member's row y goes, of which columns up to `end` are being computed."""
    member, counters = s.members[j], s.counters[j]
    channels = pixel_bytes(m.graph.tensors[member.output])
    if member.sink:
        memory, at = _kept(m, s, member.output)
        stride = member.layer.pitch or channels
        return Row(memory, at + y * member.width * stride, stride, 0, channels)
    line, at = s.stream.lines[member.output], m.plan.lines[member.output]
    c0, c1 = s.channels if s.grouped else (0, channels)
    if s.stream.steps:
        fits = end - counters.first <= line.window
        assert fits, f"{member.layer.node.name} needs {end - counters.first} columns of a window of {line.window}"
        return Row(s.arena, at + line.slots_bytes - counters.first * line.pixel_bytes, line.pixel_bytes, c0, c1)
    assert line.slots > 0, f"{member.output!r} has no slot to be written to"
    slot = at + y % line.slots * line.width * line.pixel_bytes
    return Row(s.arena, slot - s.strip[j][0] * line.pixel_bytes, line.pixel_bytes, c0, c1)


def _pixels(
    m: Machine, s: Running, row: Row, name: str, y: int, a: int, b: int, first: int = 0, count: int | None = None
) -> list[Piece]:
    """Columns [a, b) of row y of a tensor; of the channels that the row has, `count` from channel `first` on."""
    width, channels = m.graph.tensors[name].shape[2], pixel_bytes(m.graph.tensors[name])
    low, high = (row.c0, row.c1) if s.grouped or count is None else (first, first + count)
    value, number = m.values[name], y * width * channels
    if (low, high) == (0, channels) and row.stride == channels:
        return [part(row.memory, row.at - number, value, number + a * channels, number + b * channels, name)]
    found = []
    for x in range(a, b):
        byte = number + x * channels + low
        at = row.at + x * row.stride + low - row.c0
        found.append(part(row.memory, at - byte, value, byte, byte + high - low, name))
    return found


def _reads(m: Machine, s: Running, j: int, rows: Rows, y: int, x0: int, x1: int) -> list[Piece]:
    """What columns [x0, x1) of the member's row y read: of tensors inside the stream whole rows where the call does not
    say which columns, of others the whole tensor."""
    who = s.members[j].layer.node.name
    name = m.graph.runtime_inputs(s.members[j].layer.node)[rows.input]
    if name not in s.number:
        memory, at = _kept(m, s, name)
        if rows.columns is None:
            return [whole(m, name)]
        start, end = column_range(rows.columns, rows.row_bytes // rows.columns.pixel_bytes, x0, x1)
        pixel = rows.columns.pixel_bytes
        at_rows = [r * rows.row_bytes for r in row_numbers(rows, y)]
        return [part(memory, at, m.values[name], r + start * pixel, r + end * pixel, name) for r in at_rows]
    width = m.graph.tensors[name].shape[2]
    start, end = (0, width) if rows.columns is None else column_range(rows.columns, width, x0, x1)
    found = []
    for r in row_numbers(rows, y):
        found += _pixels(m, s, _source(m, s, name, r, who), name, r, start, end)
    return found


def _source(m: Machine, s: Running, name: str, r: int, who: str) -> Row:
    """mcuc_line_row, mcuc_part_row: a complete row lies in its slot, the row in work in the window."""
    channels = pixel_bytes(m.graph.tensors[name])
    if name not in s.stream.lines:
        memory, at = _kept(m, s, name)
        stride = s.members[s.number[name]].layer.pitch or channels
        return Row(memory, at + r * m.graph.tensors[name].shape[2] * stride, stride, 0, channels)
    line, i = s.stream.lines[name], s.number[name]
    counters, at = s.counters[i], m.plan.lines.get(name, 0)
    c0, c1 = s.channels if s.grouped else (0, channels)
    if line.slots and r < counters.rows:
        begin = s.strip[i][0] if i < len(s.members) else 0
        slot = at + r % line.slots * line.width * line.pixel_bytes
        return Row(s.arena, slot - begin * line.pixel_bytes, line.pixel_bytes, c0, c1)
    before = counters.first * line.pixel_bytes
    if name == s.stream.pushed:
        assert s.row is not None
        return Row(s.row[0], s.row[1] - before, line.pixel_bytes, c0, c1)
    assert s.stream.steps, f"{who} reads row {r} of {name!r}, which is not there"
    return Row(s.arena, at + line.slots_bytes - before, line.pixel_bytes, c0, c1)


# Columns


def _reachable(m: Machine, s: Running, j: int, name: str, y: int) -> int:
    """Output columns that the columns allow which are there of the last row of an input that output row y needs."""
    rows, columns, last = s.reads[j][name][0], _common(s.reads[j][name]), s.strip[j][1]
    i = s.number[name]
    first = rows.index[y] if rows.index else y * rows.stride - rows.pad
    needed = first + (rows.count - 1) * rows.dilation
    width = s.strip[i][1] if i < len(s.members) else s.stream.lines[name].width
    there = width if min(needed, rows.height - 1) < s.counters[i].rows else s.counters[i].x
    if there >= width:
        return last
    if columns is None or there + columns.pad < columns.taps:
        return 0
    return min(last, (there + columns.pad - columns.taps) // columns.stride + 1)


def _retire(m: Machine, s: Running, j: int, firing: Sequence[int]) -> None:
    """mcuc_retire: columns that no reader of this pass needs leave the window for the row's slot."""
    name, counters = s.members[j].output, s.counters[j]
    line, at, who = s.stream.lines[name], m.plan.lines[name], f"the stream, retiring {name!r},"
    free, width = counters.x, s.strip[j][1]
    for k in firing:
        if name in s.reads[k]:
            columns, x = _common(s.reads[k][name]), s.counters[k].x
            needed = 0 if columns is None else max(0, x * columns.stride - columns.pad)
            free = min(free, width if x >= s.strip[k][1] else min(width, needed))
    if free <= counters.first:
        return
    check(m, s.state, who)
    pixel, y = line.pixel_bytes, counters.rows
    window = Row(s.arena, at + line.slots_bytes - counters.first * pixel, pixel, 0, pixel)
    leaving = _pixels(m, s, window, name, y, counters.first, free)
    staying = _pixels(m, s, window, name, y, free, counters.x)
    for piece in (*(leaving if line.slots else ()), *staying):  # without a slot, what leaves is not looked at again
        check(m, piece, who)
    if line.slots:
        slot = at + y % line.slots * line.width * pixel - s.strip[j][0] * pixel
        for piece in _pixels(m, s, Row(s.arena, slot, pixel, 0, pixel), name, y, counters.first, free):
            write(m, piece, who)
    moved = Row(s.arena, at + line.slots_bytes - free * pixel, pixel, 0, pixel)
    for piece in _pixels(m, s, moved, name, y, free, counters.x):
        write(m, piece, who)
    counters.first = free
    _count(m, s, j)


def _common(reads: Sequence[Rows]) -> Columns | None:
    """The columns that all row sets read, None where one of them reads whole rows or they differ."""
    columns = reads[0].columns
    return columns if all(r.columns == columns for r in reads) else None
