"""How a network is cut into layers that run alone and streams: peak SRAM and cost of every cut, and the front of both.

A unit covers layers [begin, end) in execution order. Its peak is the most bytes alive in one tick while it runs, no
placement can be below it; its cost is what it takes more instructions than its layers alone. Along a path of units the
peak is the highest, the costs add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mcuc.ir import Graph
from mcuc.plan.accesses import Accesses, Pieces, accesses, latest, stream_accesses
from mcuc.plan.lifetimes import CACHE_LINE, FEED_STATE, LINE_STATE
from mcuc.schedule import Layer, Schedule, Segment
from mcuc.schedule.access import grid
from mcuc.schedule.select import in_place_inputs
from mcuc.schedule.stream import Member, Rowwise, make_stream, members_of, replay, stream_segment
from mcuc.schedule.views import places, spread

BLOCKS = (0, 8, 2)  # columns at a time: whole rows, and two sizes that trade speed for windows of fewer pixels

# Instructions, measured on emulated Cortex-M4 streams and rounded up (benchmarks/streams.py).
PER_RUN = 60  # a member's call: row pointers, limits, the kernel's entry
PER_PASS = 30  # the loop, for each member
PER_BYTE = 3.0  # a byte that leaves a window, and what moves up behind it
PER_DEPTHWISE_MAC = 0.75  # the compiler unrolls the taps less where rows come from rings


@dataclass(frozen=True, eq=False)
class Unit:
    """Layers [begin, end). block: None for a layer alone, else the stream's columns at a time (0: whole rows).
    peak: bytes; cost: instructions beyond those of the layers alone."""

    begin: int
    end: int
    block: int | None
    peak: int
    cost: float


@dataclass(frozen=True, eq=False)
class Partition:
    """Units that cover all layers in order. peak: bytes that no placement can be below; cost: extra instructions."""

    units: tuple[Unit, ...]
    peak: int
    cost: float


@dataclass(frozen=True, eq=False)
class Lives:
    """root: tensor -> the tensor whose storage it has (behind reshapes, see views.py); begins: its first byte there;
    last: layer number of a storage's last reader (number of layers for outputs); shared: storages that other tensors'
    layers write into or read in part. pieces: of each storage (start, end, layer number of the first writer of these
    bytes, -1 for model inputs, and of their last reader)."""

    root: Mapping[str, str]
    begins: Mapping[str, int]
    last: Mapping[str, int]
    shared: frozenset[str]
    pieces: Mapping[str, tuple[tuple[int, int, int, int], ...]]


def lives_of(layers: Sequence[Layer], graph: Graph, pushed: str | None = None) -> Lives:
    """Storages when every layer runs alone and nothing is in place. pushed: an input that is never held whole."""
    place = places(layers, graph)
    writes: dict[str, list[tuple[int, int, int]]] = {}
    reads: dict[str, list[tuple[int, int, int]]] = {}

    def touch(side: dict[str, list[tuple[int, int, int]]], name: str, k: int) -> None:
        begin = place[name].first
        side.setdefault(place[name].root, []).append((begin, begin + spread(graph.tensors[name], place[name].pitch), k))

    for name in graph.inputs:
        touch(writes, name, -1)
    for k, layer in enumerate(layers):
        names = graph.runtime_inputs(layer.node)
        for i in {rows.input for call, _ in layer.calls for rows in call.rows}:
            touch(reads, names[i], k)
        if layer.calls:
            touch(writes, layer.node.outputs[0], k)
    for name in graph.outputs:
        touch(reads, name, len(layers))
    last = {root: max(k for *_, k in (*found, *reads.get(root, ()))) for root, found in writes.items()}
    pieces = {root: _pieces(found, reads.get(root, [])) for root, found in writes.items() if root != pushed}
    shared = frozenset(layer.into for layer in layers if layer.into)
    return Lives({n: v.root for n, v in place.items()}, {n: v.first for n, v in place.items()}, last, shared, pieces)


def _pieces(
    writes: Sequence[tuple[int, int, int]], reads: Sequence[tuple[int, int, int]]
) -> tuple[tuple[int, int, int, int], ...]:
    """(start, end, first writer, last reader or writer) of all written bytes, from (start, end, layer number)s."""
    cuts = sorted({at for start, end, _ in (*writes, *reads) for at in (start, end)})
    found: list[tuple[int, int, int, int]] = []
    for start, end in pairwise(cuts):
        written = [k for s, e, k in writes if s <= start and end <= e]
        if not written:
            continue
        last = max([*written, *(k for s, e, k in reads if s <= start and end <= e)])
        piece = (start, end, min(written), last)
        if found and found[-1][1:] == (start, *piece[2:]):
            piece = (found.pop()[0], *piece[1:])
        found.append(piece)
    return tuple(found)


def needed_whole(layers: Sequence[Layer], begin: int, end: int, graph: Graph, lives: Lives) -> frozenset[str]:
    """Outputs of layers [begin, end) that the model or later layers need, or that share bytes with other tensors."""
    made = {layer.node.outputs[0]: lives.root[layer.node.outputs[0]] for layer in layers[begin:end]}
    return frozenset(n for n, root in made.items() if lives.last[root] >= end or root in lives.shared)


def units(layers: Sequence[Layer], graph: Graph, pushed: str | None = None) -> list[Unit]:
    """Every layer alone and every run of layers that can be a stream, in all blocks. pushed: an input that arrives
    by rows; then the first unit is the stream that takes it in."""
    lives = lives_of(layers, graph, pushed)
    taken = -1 if pushed is None else lives.last[pushed]
    found = []
    for begin in range(len(layers)):
        if pushed is None or begin > taken:
            found.append(_alone(layers, begin, graph, lives))
        elif begin > 0:
            continue  # the stream that takes the input in covers all its readers
        for end in range(begin + 1, len(layers) + 1):
            arriving = pushed if begin == 0 and pushed is not None else None
            if arriving is None and end == begin + 1:
                continue
            if arriving is not None and end <= taken:
                continue
            members = members_of(layers[begin:end], graph, needed_whole(layers, begin, end, graph, lives), arriving)
            if members is None:
                if arriving is None or end - begin > 31:
                    break
                continue
            found += _streams(begin, end, members, graph, lives, arriving)
    return found


def _alone(layers: Sequence[Layer], begin: int, graph: Graph, lives: Lives) -> Unit:
    layer = layers[begin]
    out = layer.node.outputs[0]
    shared = set()
    if layer.calls and out not in graph.outputs:
        dying = (n for n in in_place_inputs(layer, graph) if lives.last[lives.root[n]] == begin)
        shared = {lives.root[n] for n in dying if lives.root[n] not in graph.inputs}
    peak = _peak(accesses(layer, graph), begin, begin + 1, lives, [layer.scratch], in_place=bool(shared))
    return Unit(begin, begin + 1, None, peak, 0.0)


def _streams(
    begin: int, end: int, members: tuple[Member, ...], graph: Graph, lives: Lives, pushed: str | None
) -> Iterator[Unit]:
    arriving = None if pushed is None else (pushed, grid(graph, pushed).height)
    played = replay(members, arriving)
    touched: Accesses | None = None
    for block in BLOCKS:
        stream = make_stream(members, graph, block, pushed, played, exact=False)
        touched = touched or stream_accesses(stream, members, graph)
        row = 0 if pushed is None else grid(graph, pushed).row_bytes
        fixed = [
            row + -row % CACHE_LINE,
            LINE_STATE * (len(members) + (pushed is not None)) + (FEED_STATE if pushed else 0),
            max((m.layer.scratch for m in members if m.layer.reduction is None), default=0),
            *(m.layer.reduction.state_bytes for m in members if m.layer.reduction is not None),
        ]
        timed = [(*line.live, line.bytes) for line in stream.lines.values()]
        peak = _peak(touched, begin, end, lives, fixed, timed)
        yield Unit(begin, end, block, peak, _stream_cost(members, played, block, stream.steps, graph))


def _peak(
    touched: Accesses,
    begin: int,
    end: int,
    lives: Lives,
    fixed: Sequence[int],
    timed: Sequence[tuple[int, int, int]] = (),
    in_place: bool = False,
) -> int:
    """Most bytes alive in a tick of the unit: tensors that pass by, dying inputs, outputs that come, its own memory."""
    ticks = touched.ticks
    change = [0] * (ticks + 1)
    reads, writes = _by_root(touched.reads, lives), _by_root(touched.writes, lives)
    base = sum((f + 3) & ~3 for f in fixed)
    for root, low, high, first, last in ((root, *piece) for root, pieces in lives.pieces.items() for piece in pieces):
        if first >= end or last < begin:
            continue
        if first >= begin and root in writes:
            if in_place:
                continue
            for s, e, t in _within(writes[root], low, high):
                change[t] += e - s
        elif first < begin and last >= end:
            base += high - low if low else (high + 3) & ~3
        elif first < begin:
            for s, e, t in _within(reads.get(root, ((low, high, ticks - 1),)), low, high):
                change[0] += e - s
                change[t + 1] -= e - s
    for lower, upper, size in timed:
        change[lower] += (size + 3) & ~3
        change[min(upper, ticks)] -= (size + 3) & ~3
    level = most = 0
    for delta in change[:ticks]:
        level += delta
        most = max(most, level)
    return base + most


def _by_root(touched: Mapping[str, Pieces], lives: Lives) -> dict[str, Pieces]:
    """The pieces of all tensors that share a storage, counted from its first byte."""
    found: dict[str, list[Pieces]] = {}
    for name, pieces in touched.items():
        if name in lives.root:
            at = lives.begins[name]
            found.setdefault(lives.root[name], []).append(tuple((at + s, at + e, t) for s, e, t in pieces))
    return {root: latest(parts) for root, parts in found.items()}


def _within(pieces: Pieces, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """What of the pieces lies in [low, high)."""
    for start, end, tick in pieces:
        if start < high and low < end:
            yield max(start, low), min(end, high), tick


def _stream_cost(
    members: Sequence[Member], played: Rowwise, block: int, steps: Sequence[int], graph: Graph
) -> float:
    total = 0.0
    for j, m in enumerate(members):
        runs = m.height * (-(-m.width // steps[j]) if block else 1)
        total += runs * PER_RUN
        if m.layer.calls[0][0].family == "depthwise":
            total += PER_DEPTHWISE_MAC * m.layer.macs
        if block and not m.sink:
            total += PER_BYTE * m.height * grid(graph, m.output).row_bytes
    return total + PER_PASS * len(members) * len(played.passes)


def front(found: Sequence[Unit], count: int) -> list[Partition]:
    """From the cheapest partition to the one with the lowest peak: each the cheapest below the peak of the last."""
    by_end: list[list[Unit]] = [[] for _ in range(count + 1)]
    for unit in found:
        by_end[unit.end].append(unit)
    partitions: list[Partition] = []
    below: float = float("inf")
    while True:
        best = cheapest(by_end, count, lambda u: u.peak < below)  # noqa: B023
        if best is None:
            return partitions
        partitions.append(best)
        below = best.peak


def cheapest(by_end: Sequence[Sequence[Unit]], count: int, allowed: Callable[[Unit], bool]) -> Partition | None:
    """The partition of allowed units with the lowest cost, then the fewest units; None where there is none."""
    best: list[tuple[float, int, Unit | None] | None] = [(0.0, 0, None)] + [None] * count
    for end in range(1, count + 1):
        for unit in by_end[end]:
            before = best[unit.begin]
            if before is None or not allowed(unit):
                continue
            candidate = (before[0] + unit.cost, before[1] + 1, unit)
            known = best[end]
            if known is None or candidate[:2] < known[:2]:
                best[end] = candidate
    last = best[count]
    if last is None:
        return None
    path: list[Unit] = []
    at = count
    while at > 0:
        entry = best[at]
        assert entry is not None and entry[2] is not None
        path.append(entry[2])
        at = entry[2].begin
    return Partition(tuple(reversed(path)), max((u.peak for u in path), default=0), last[0])


def schedule_of(
    partition: Partition, layers: Sequence[Layer], graph: Graph, pushed: str | None = None
) -> Schedule:
    """The partition as a tree of segments."""
    lives = lives_of(layers, graph)
    parts: list[Layer | Segment] = []
    for unit in partition.units:
        if unit.block is None:
            parts.append(layers[unit.begin])
            continue
        arriving = pushed if unit.begin == 0 else None
        whole = needed_whole(layers, unit.begin, unit.end, graph, lives)
        members = members_of(layers[unit.begin : unit.end], graph, whole, arriving)
        assert members is not None
        parts.append(stream_segment(members, make_stream(members, graph, unit.block, arriving)))
    return Schedule(Segment("layers", tuple(parts)))
