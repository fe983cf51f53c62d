"""Streams: a run of layers executed row by row, each tensor between them in as few rows and pixels as it takes.

Rows: passes over the members in order. In a pass a member computes its next output row if somebody needs that row
now and everything that the row needs is there. What must be kept follows from replaying the passes.
Columns: the members of a pass may advance together, a few columns at a time (steps). The row in work then lies in a
window of a few pixels; pixels that leave the window take the place of the oldest row's pixels, column by column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from mcuc.ir import Array, Graph
from mcuc.kernels._base import Columns
from mcuc.schedule import Layer, Line, Segment, Stream
from mcuc.schedule.access import Reads, grid, reads, ringable, streamable

MOST_MEMBERS = 31  # bits of a pass, and one for the pushed row
_NEVER = 1 << 40  # more than any row


@dataclass(frozen=True, eq=False)
class Member:
    """A layer of a stream as the replay sees it. height, width: its grid of work, which for a reduction is the
    input's. inside: what it reads of tensors in the stream. sink: its output is needed whole. wide: most bytes."""

    layer: Layer
    output: str
    height: int
    width: int
    inside: Mapping[str, Reads]
    outside: Mapping[str, Reads]
    sink: bool


@dataclass(frozen=True)
class Kept:
    """Rows of a tensor that the passes need at once. most: alive in one pass; beside: the most of them besides the
    one that is being written; live: the passes [lower, upper) from the first row's to the last reader's."""

    most: int
    beside: int
    live: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Rowwise:
    """The replayed passes. rows: for each pass, the rows that each member has when it begins; kept: for each."""

    passes: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]
    kept: tuple[Kept, ...]


def members_of(
    layers: Sequence[Layer], graph: Graph, whole: frozenset[str], pushed: str | None = None
) -> tuple[Member, ...] | None:
    """The layers as members of one stream; None where one of them cannot run row by row.

    whole: outputs needed as a whole, by the model or by later layers. pushed: an input that arrives by rows.
    """
    if len(layers) > MOST_MEMBERS:
        return None
    found: list[Member] = []
    made: set[str] = set() if pushed is None else {pushed}
    for layer in layers:
        member = _member(layer, graph, made, whole)
        if member is None:
            return None
        found.append(member)
        made.add(member.output)
    return tuple(found)


def _member(layer: Layer, graph: Graph, made: set[str], whole: frozenset[str]) -> Member | None:
    output = layer.node.outputs[0]
    cut, all_reads = _cut(layer, layer.reduction is not None and output in whole, graph)
    if cut is None:
        return None
    call = cut.calls[0][0]
    inside = {n: r for n, r in all_reads.items() if n in made}
    if any(not ringable(cut, n, graph) for n in inside):
        return None
    outside = {n: r for n, r in all_reads.items() if n not in made}
    return Member(cut, output, call.height, call.width, inside, outside, output in whole)


@lru_cache(maxsize=4096)
def _cut(layer: Layer, reduced: bool, graph: Graph) -> tuple[Layer | None, Mapping[str, Reads]]:
    """The layer by rows and what it reads. Both are compared by identity, so this remembers them for a search."""
    if reduced:
        assert layer.reduction is not None
        cut: Layer | None = replace(layer, calls=(layer.reduction.accumulate,))
    else:
        cut = streamable(replace(layer, reduction=None), graph)
    return cut, {} if cut is None else reads(cut, graph)


def replay(members: Sequence[Member], pushed: tuple[str, int] | None = None) -> Rowwise:
    """The passes that compute every row once, each as late as its readers allow. pushed: name and height."""
    count = len(members)
    producer = {m.output: j for j, m in enumerate(members)}
    heights = [m.height for m in members]
    if pushed is not None:
        producer[pushed[0]] = count
        heights.append(pushed[1])
    order = range(count)
    rows = [0] * len(heights)
    passes, history = [], []
    inside = [[(producer[n], r.last) for n, r in m.inside.items()] for m in members]
    while any(rows[j] < heights[j] for j in order):
        wanted = [0] * len(heights)
        wanting = [False] * len(heights)
        for j in reversed(order):
            if rows[j] < heights[j] and (members[j].sink or rows[j] < wanted[j]):
                wanting[j] = True
                for i, last in inside[j]:
                    wanted[i] = max(wanted[i], last[rows[j]] + 1)
        if not any(wanting):  # what is left are rows that nobody reads
            break
        history.append(tuple(rows))
        mask = 0
        if pushed is not None and rows[count] < min(wanted[count], heights[count]):
            rows[count] += 1
            mask |= 1 << count
        for j in order:
            if wanting[j] and all(last[rows[j]] < rows[i] for i, last in inside[j]):
                rows[j] += 1
                mask |= 1 << j
        assert mask, "a stream that makes no progress"
        passes.append(mask)
    history.append(tuple(rows))
    table = np.array(history, np.int64)
    kept = []
    for name, i in producer.items():
        readers = [(j, m.inside[name]) for j, m in enumerate(members) if name in m.inside]
        kept.append(_kept(i, readers, heights, table))
    return Rowwise(tuple(passes), tuple(history), tuple(kept))


def make_stream(
    members: Sequence[Member],
    graph: Graph,
    block: int = 0,
    pushed: str | None = None,
    played: Rowwise | None = None,
    exact: bool = True,
) -> Stream:
    """The stream over the members. block: columns that the widest member computes at a time, 0 for whole rows.
    exact: False for an estimate of the windows, which is faster and no schedule to run."""
    arriving = None if pushed is None else (pushed, grid(graph, pushed).height)
    played = played or replay(members, arriving)
    widest = max(m.width for m in members)
    steps = tuple(max(1, -(-block * m.width // widest)) for m in members) if block else ()
    names = [m.output for m in members] + ([pushed] if pushed else [])
    readers = {
        n: [(j, m.inside[n]) for j, m in enumerate(members) if n in m.inside] for n in names
    }
    sinks = {m.output for m in members if m.sink}
    if not block:
        windows = {}
    elif exact:
        windows = _windows(members, played, steps, readers, graph)
    else:
        windows = _usual_windows(members, steps, readers, graph)
    lines = {}
    for i, name in enumerate(names):
        if name in sinks:
            continue
        g = grid(graph, name)
        kept = played.kept[i]
        if name == pushed:  # the row in work is the caller's until the pass is over
            lines[name] = Line(kept.beside, 0, g.width, g.pixel_bytes, kept.live)
        elif block:
            lines[name] = Line(kept.beside, windows[name], g.width, g.pixel_bytes, kept.live)
        else:
            lines[name] = Line(kept.most, 0, g.width, g.pixel_bytes, kept.live)
    return Stream(played.passes, steps, lines, pushed)


def _kept(i: int, readers: Sequence[tuple[int, Reads]], heights: Sequence[int], table: Array) -> Kept:
    """What is kept of the tensor of row counter i. table: rows of every counter before each pass and after the last."""
    old, new = table[:-1, i], table[1:, i]
    fired = new > old
    used = fired.copy()
    before, after = new.copy(), new.copy()  # the oldest row that is needed when a pass begins, when it ends
    for j, r in readers:
        first = [a if b >= a else _NEVER for a, b in zip(r.first, r.last, strict=True)]
        starts = np.array([*first[: heights[j]], _NEVER], np.int64)
        before = np.minimum(before, starts[table[:-1, j]])
        after = np.minimum(after, starts[table[1:, j]])
        used |= table[1:, j] > table[:-1, j]
    at = np.flatnonzero(used)
    begin = int(np.flatnonzero(fired)[0]) if fired.any() else 0
    most = max(1, int((new - before).max()))
    beside = max(int((new - after).max()), int((np.where(fired, old, new) - before).max()), 0)
    return Kept(most, beside, (begin, int(at[-1]) + 1 if at.size else 1))


def _usual_windows(
    members: Sequence[Member],
    steps: Sequence[int],
    readers: Mapping[str, Sequence[tuple[int, Reads]]],
    graph: Graph,
) -> dict[str, int]:
    """Windows where every reader follows its producer at once: one step, and what a reader's window still needs."""
    found = {}
    for j, m in enumerate(members):
        width = grid(graph, m.output).width
        behind = [
            width if r.columns is None else r.columns.taps - r.columns.stride + steps[k] * r.columns.stride - steps[j]
            for k, r in readers[m.output]
        ]
        found[m.output] = max(1, min(width, steps[j] + max([0, *behind])))
    return found


def _windows(
    members: Sequence[Member],
    played: Rowwise,
    steps: Sequence[int],
    readers: Mapping[str, Sequence[tuple[int, Reads]]],
    graph: Graph,
) -> dict[str, int]:
    """Tensor -> columns of its row in work that are in the window at once, over all passes."""
    producer = {m.output: j for j, m in enumerate(members)}
    widths = {name: grid(graph, name).width for name in readers}
    most = dict.fromkeys(readers, 1)
    seen: set[tuple[int, tuple[bool, ...]]] = set()
    for p, mask in enumerate(played.passes):
        old = played.rows[p]
        firing = [bool(mask >> j & 1) for j in range(len(members))]
        current = tuple(
            firing[j] and n in producer and firing[producer[n]] and r.last[old[j]] == old[producer[n]]
            for j, m in enumerate(members)
            for n, r in m.inside.items()
        )
        if (mask, current) in seen:
            continue
        seen.add((mask, current))
        for name, columns in _advance(members, mask, current, steps, readers, widths, producer).items():
            most[name] = max(most[name], columns)
    return most


def _advance(
    members: Sequence[Member],
    mask: int,
    current: Sequence[bool],
    steps: Sequence[int],
    readers: Mapping[str, Sequence[tuple[int, Reads]]],
    widths: Mapping[str, int],
    producer: Mapping[str, int],
) -> dict[str, int]:
    """One pass column by column, as the generated loop does it: the most columns in each window."""
    firing = [j for j in range(len(members)) if mask >> j & 1]
    flags = iter(current)
    waits: list[list[tuple[int, Columns | None, int]]] = []
    for m in members:
        waits.append([(producer[n], r.columns, widths[n]) for n, r in m.inside.items() if next(flags)])
    x = [0] * len(members)
    first = {members[j].output: 0 for j in firing if not members[j].sink}
    most = dict.fromkeys(first, 0)
    while any(x[j] < members[j].width for j in firing):
        for j in firing:
            reach = members[j].width
            for i, columns, width in waits[j]:
                reach = min(reach, reachable(x[i], width, columns, members[j].width))
            x[j] = max(x[j], min(reach, x[j] + steps[j]))
            name = members[j].output
            if name in first:
                most[name] = max(most[name], x[j] - first[name])
        for name in first:
            free = x[producer[name]]
            for j, r in readers[name]:
                if mask >> j & 1:
                    free = min(free, freed(x[j], members[j].width, r.columns, widths[name]))
            first[name] = max(first[name], free)
    return most


def reachable(available: int, width: int, columns: Columns | None, out_width: int) -> int:
    """Output columns that can be computed when `available` of the input row's `width` columns are there."""
    if available >= width:
        return out_width
    if columns is None:
        return 0
    return max(0, min(out_width, (available + columns.pad - columns.taps) // columns.stride + 1))


def freed(done: int, out_width: int, columns: Columns | None, width: int) -> int:
    """Input columns that a reader needs no more once `done` of its output columns are computed."""
    if done >= out_width:
        return width
    if columns is None:
        return 0
    return max(0, min(width, done * columns.stride - columns.pad))


def stream_segment(members: Sequence[Member], stream: Stream) -> Segment:
    """The segment of the schedule's tree."""
    return Segment("stream", tuple(m.layer for m in members), stream)


def segment_members(segment: Segment, graph: Graph) -> tuple[Member, ...]:
    """The members of a stream's segment again: what has no line is needed whole."""
    assert segment.stream is not None
    layers = tuple(layer for layer in segment.members if isinstance(layer, Layer))
    whole = frozenset(layer.node.outputs[0] for layer in layers) - set(segment.stream.lines)
    members = members_of(layers, graph, whole, segment.stream.pushed)
    assert members is not None
    return members
