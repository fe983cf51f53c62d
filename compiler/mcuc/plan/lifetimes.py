"""Which bytes are alive when: storages (tensors that share bytes) and their lifetimes over a schedule.

Time is counted in ticks (see accesses.py). A storage's bytes are alive from the tick that writes them first to the
tick that reads them last, so that an output may be laid over its dying input as closely as the layer's access pattern
allows: the placement finds the smallest safe offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from mcuc.ir import Graph
from mcuc.plan.accesses import Accesses, Pieces, accesses
from mcuc.plan.place import Buffer, Span
from mcuc.schedule import Layer, Line, Schedule, Segment, Stream
from mcuc.schedule.groups import PROJECT, SUM_BYTES
from mcuc.schedule.select import in_place_inputs
from mcuc.schedule.stream import segment_members
from mcuc.schedule.tokens import laid_over, shared_pieces
from mcuc.schedule.views import View, places, spread

CACHE_LINE = 32  # bytes, of the Cortex-M7: DMA into the push buffer must not share a line with anything else
ALIGN = 4  # whole words, so that copies and DSP loads start aligned
SPANS = 96  # of a storage, at most; with more of them placing takes longer and saves little
LINE_STATE, FEED_STATE = 8, 12  # bytes of mcuc_line_t and mcuc_feed_t


@dataclass(frozen=True)
class Lifetimes:
    """buffers: what to place; storage: run-time tensor -> buffer id; io: ids of what the caller may keep elsewhere, the
    model's inputs and outputs but for those that a stream writes whose input arrives by rows.

    scratch, lines, state: buffer ids by node name, by tensor, and by the name of a stream's first node. ranges: for
    each unit of the schedule its ticks [lower, upper). offset: run-time tensor -> its first byte in the buffer; within:
    the same of lines that share one.
    states: run-time tensors outside the arena, those whose bytes are a state's -> where they lie in it.
    """

    buffers: tuple[Buffer, ...]
    storage: Mapping[str, str]
    scratch: Mapping[str, str]
    lines: Mapping[str, str]
    state: Mapping[str, str]
    io: frozenset[str]
    ranges: tuple[tuple[int, int], ...]
    offset: Mapping[str, int]
    within: Mapping[str, int] = field(default_factory=dict)
    states: Mapping[str, View] = field(default_factory=dict)


@dataclass
class _Life:
    """One storage under construction: its tensors' pieces in absolute ticks, first writes and last reads."""

    size: int
    writes: list[Pieces]
    reads: list[Pieces]


def push_buffer(tensor: str) -> str:
    """Among the lines, the buffer for the next row of an input that arrives by rows."""
    return f"{tensor}/row"


def lifetimes(graph: Graph, schedule: Schedule) -> Lifetimes:
    """Buffers of the schedule.

    The model's inputs are alive from tick 0, its outputs until the end. An in-place layer's output joins its dying
    input's storage, unless one of them is the caller's (a model input is kept, an output may lie elsewhere). Tensors
    inside others (see views.py) have their storage.
    """
    units = schedule.segments
    outside = {n for s in graph.states for n in (s.current, s.next)}
    found = [accesses(unit, graph) for unit in units]
    starts, now = [], 0
    for access in found:
        starts.append(now)
        now += access.ticks
    ranges = tuple((s, s + a.ticks) for s, a in zip(starts, found, strict=True))
    whole = _storages(graph, units)
    homes = {name: home for name, home in whole.items() if home.root not in outside}
    lives = _lives(graph, found, starts, homes, now)
    storage = {name: home.root for name, home in homes.items()}
    buffers = [_buffer(root, life) for root, life in lives.items()]
    scratch: dict[str, str] = {}
    lines: dict[str, str] = {}
    state: dict[str, str] = {}
    for unit, (lower, upper) in zip(units, ranges, strict=True):
        if isinstance(unit, Layer):
            if unit.scratch:
                scratch[unit.node.name] = f"{unit.node.name}/scratch"
                buffers.append(Buffer(scratch[unit.node.name], lower, upper, unit.scratch, ALIGN))
            continue
        buffers += _of_stream(unit, graph, lower, upper, scratch, lines, state)
    io = frozenset(storage[n] for n in (*graph.inputs, *graph.outputs) if n in storage) - _early(units, storage)
    offset = {name: home.offset for name, home in homes.items()}
    states = {name: home for name, home in whole.items() if home.root in outside}
    streams = [u.stream for u in units if isinstance(u, Segment) and u.stream is not None]
    within = {name: at for stream in streams for name, at in stream.offsets.items()}
    return Lifetimes(tuple(buffers), storage, scratch, lines, state, io, ranges, offset, within, states)


def _early(units: Sequence[Layer | Segment], storage: Mapping[str, str]) -> frozenset[str]:
    """What a stream writes whose input arrives by rows: it lies in the arena until the caller names its buffers."""
    taking = (u for u in units if isinstance(u, Segment) and u.stream is not None and u.stream.pushed is not None)
    made = {layer.node.outputs[0] for unit in taking for layer in _nodes(unit)}
    return frozenset(storage[n] for n in made if n in storage)


def _of_stream(
    unit: Segment,
    graph: Graph,
    lower: int,
    upper: int,
    scratch: dict[str, str],
    lines: dict[str, str],
    state: dict[str, str],
) -> list[Buffer]:
    """Lines, sums, counters, and one scratch that the members share: they take turns within a pass."""
    assert unit.stream is not None
    members = [layer for layer in unit.members if isinstance(layer, Layer)]
    first = members[0].node.name
    found = []
    if unit.stream.shared:
        lines.update(dict.fromkeys(unit.stream.lines, f"{first}/lines"))
        pieces = shared_pieces(segment_members(unit, graph), unit.stream)
        spans = tuple(Span(lower + a, lower + b, start, end) for start, end, a, b in pieces)
        begin, done = min(s.lower for s in spans), max(s.upper for s in spans)
        found.append(Buffer(f"{first}/lines", begin, done, unit.stream.shared, ALIGN, spans if len(spans) > 1 else ()))
    for tensor, line in unit.stream.lines.items():
        if line.bytes and not unit.stream.shared:
            lines[tensor] = f"{tensor}/line"
            begin, end = line.live
            found.append(Buffer(lines[tensor], lower + begin, lower + end, line.bytes, ALIGN))
    for layer in members:
        if layer.reduction is not None:
            scratch[layer.node.name] = f"{layer.node.name}/sums"
            found.append(Buffer(scratch[layer.node.name], lower, upper, layer.reduction.state_bytes, ALIGN))
    if unit.stream.group:
        last = members[-1]
        scratch[last.node.name] = f"{last.node.name}/sums"
        found.append(_sums_by_rows(scratch[last.node.name], last, unit.stream, lower))
    sharing = [layer for layer in members if layer.node.name not in scratch]
    shared = max((layer.scratch for layer in sharing), default=0)
    if shared:
        name = f"{first}/scratch"
        scratch.update({layer.node.name: name for layer in sharing if layer.scratch})
        found.append(Buffer(name, lower, upper, shared, ALIGN))
    state[first] = f"{first}/state"
    counters = len(members) + (unit.stream.pushed is not None)
    feed = 0
    if unit.stream.pushed is not None:
        feed = FEED_STATE
        lines[push_buffer(unit.stream.pushed)] = push_buffer(unit.stream.pushed)
        line = unit.stream.lines[unit.stream.pushed]
        row = line.width * line.pixel_bytes
        padded = row + -row % CACHE_LINE
        found.append(Buffer(push_buffer(unit.stream.pushed), lower, upper, padded, CACHE_LINE))
    found.append(Buffer(state[first], lower, upper, LINE_STATE * counters + feed, ALIGN))
    return found


def _sums_by_rows(name: str, last: Layer, stream: Stream, lower: int) -> Buffer:
    """The sums of a stream that runs by groups of channels: a row is in use until the last group has finished it."""
    row = SUM_BYTES * last.calls[0][0].out_row_bytes
    done = [1 + p for p, mask in enumerate(stream.passes) if mask >> PROJECT & 1]
    pieces = _fewer([(y * row, (y + 1) * row, lower, lower + tick + 1) for y, tick in enumerate(done)])
    spans = tuple(Span(a, b, start, end) for start, end, a, b in pieces)
    return Buffer(name, lower, lower + done[-1] + 1, len(done) * row, ALIGN, spans)


def _storages(graph: Graph, units: Sequence[Layer | Segment]) -> dict[str, View]:
    """Run-time tensor -> where it lies in the storage named after its root; tensors inside streams have none."""
    base = places([layer for unit in units for layer in _nodes(unit)], graph)
    last: dict[str, int] = {}
    for name, step in _last_use(graph, units).items():
        last[base[name].root] = max(last.get(base[name].root, step), step)
    caller = {base[n].root for n in (*graph.given, *graph.kept) if n in base}
    home = {n: View(n, 0) for n in graph.given if not _pushed(n, units)}
    ends = {n: last.get(n, 0) for n in home}
    for step, unit in enumerate(units):
        lines: Mapping[str, Line] = {} if isinstance(unit, Layer) or unit.stream is None else unit.stream.lines
        layers, over, taken = _nodes(unit), _over(unit, graph, base), set(caller)
        read = {n for layer in layers for n in graph.runtime_inputs(layer.node)}
        for layer in layers:
            out = layer.node.outputs[0]
            own = base[out].root
            if own in home or out in lines:
                continue
            home[own] = View(own, 0)
            if own not in caller:
                reads = {n: _inside(home[base[n].root], base[n]) for n in read if base[n].root in home}
                dying = (reads[n] for n in over.get(out, ()) if n in reads and _replaceable(n, reads, graph))
                home[own] = next((v for v in dying if v.root not in taken and ends[v.root] == step), home[own])
                taken.add(home[own].root)
            ends[home[own].root] = max(ends.get(home[own].root, step), last.get(own, step))
    return {n: _inside(home[v.root], v) for n, v in base.items() if v.root in home}


def _over(unit: Layer | Segment, graph: Graph, base: Mapping[str, View]) -> Mapping[str, tuple[str, ...]]:
    """Outputs of the unit -> inputs over which they may go where these die in it."""
    if isinstance(unit, Layer):
        return {unit.node.outputs[0]: in_place_inputs(unit, graph)}
    stream, layers = unit.stream, _nodes(unit)
    if stream is None or not stream.blocks:
        return {}
    sinks = [layer.node.outputs[0] for layer in layers if layer.node.outputs[0] not in stream.lines]
    return laid_over(layers, sinks, graph, {name: view.root for name, view in base.items()})


def _inside(outer: View, inner: View) -> View:
    """A view of a tensor that has a view itself."""
    return replace(inner, root=outer.root, offset=outer.offset + inner.offset)


def _replaceable(name: str, reads: Mapping[str, View], graph: Graph) -> bool:
    """No other input lies on some of the tensor's bytes but not on all, which are written while it is still read."""
    one, size = reads[name], graph.tensors[name].bytes
    for other, view in reads.items():
        apart = view.root != one.root or view.offset >= one.offset + size
        if not apart and view.offset + graph.tensors[other].bytes > one.offset and view != one:
            return False
    return True


def _pushed(name: str, units: Sequence[Layer | Segment]) -> bool:
    return any(isinstance(u, Segment) and u.stream is not None and u.stream.pushed == name for u in units)


def _nodes(unit: Layer | Segment) -> tuple[Layer, ...]:
    if isinstance(unit, Layer):
        return (unit,)
    return tuple(layer for layer in unit.members if isinstance(layer, Layer))


def _last_use(graph: Graph, units: Sequence[Layer | Segment]) -> dict[str, int]:
    last: dict[str, int] = {}
    for step, unit in enumerate(units):
        for layer in _nodes(unit):
            for name in graph.runtime_inputs(layer.node):
                last[name] = step
    for name in graph.kept:
        last[name] = len(units) - 1
    return last


def _lives(
    graph: Graph, found: Sequence[Accesses], starts: Sequence[int], homes: Mapping[str, View], end: int
) -> dict[str, _Life]:
    lives: dict[str, _Life] = {}
    for name, home in homes.items():
        at, size = home.offset, graph.tensors[name].bytes
        life = lives.setdefault(home.root, _Life(at + size, [], []))
        life.size = max(life.size, at + size)
        if name in graph.inputs:
            life.writes.append(((at, at + size, 0),))
        if name in graph.outputs:
            life.reads.append(((at, at + size, end - 1),))
    for access, start in zip(found, starts, strict=True):
        for pieces, side in ((access.writes, "writes"), (access.reads, "reads")):
            for name, parts in pieces.items():
                if name in homes:
                    at = homes[name].first
                    moved = tuple((at + a, at + b, start + t) for a, b, t in parts)
                    getattr(lives[homes[name].root], side).append(moved)
        for name in access.writes:  # whole when the unit is over, also what nobody reads: traces look at it
            if name in homes:
                at, size = homes[name].first, spread(graph.tensors[name], homes[name].pitch)
                lives[homes[name].root].reads.append(((at, at + size, start + access.ticks - 1),))
    return lives


def _buffer(root: str, life: _Life) -> Buffer:
    """Bytes from their first write to their last read."""
    size = max(1, life.size)
    cuts = sorted({0, size, *(at for p in (*life.writes, *life.reads) for s, e, _ in p for at in (s, e))})
    pieces: list[tuple[int, int, int, int]] = []  # start, end, lower, upper
    for start, end in pairwise(cuts):
        lower = min((t for p in life.writes for s, e, t in p if s <= start and end <= e), default=-1)
        upper = max((t for p in life.reads for s, e, t in p if s <= start and end <= e), default=-1)
        if lower < 0:
            continue  # no tensor has these bytes
        piece = (start, end, lower, max(lower, upper) + 1)
        if pieces and pieces[-1][1] == start and pieces[-1][2:] == piece[2:]:
            pieces[-1] = (pieces[-1][0], *piece[1:])
        else:
            pieces.append(piece)
    pieces = _fewer(pieces)
    lower, upper = min(p[2] for p in pieces), max(p[3] for p in pieces)
    if all(p[2:] == (lower, upper) for p in pieces):
        return Buffer(root, lower, upper, size, ALIGN)
    return Buffer(root, lower, upper, size, ALIGN, tuple(Span(a, b, s, e) for s, e, a, b in pieces))


def _fewer(pieces: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """At most SPANS pieces: neighbours joined, alive while one of them is."""
    if len(pieces) <= SPANS:
        return pieces
    bounds = [k * len(pieces) // SPANS for k in range(SPANS + 1)]
    groups = [pieces[a:b] for a, b in pairwise(bounds)]
    return [(g[0][0], g[-1][1], min(p[2] for p in g), max(p[3] for p in g)) for g in groups]
