"""The plan: at which address every byte of a schedule lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.plan.lifetimes import Lifetimes, lifetimes, push_buffer
from mcuc.plan.place import Buffer, Span, lower_bound, place_with_io
from mcuc.plan.regions import Region, assign
from mcuc.plan.traffic import traffic
from mcuc.plan.validate import validate, validate_states
from mcuc.schedule import Layer, Schedule, Segment

STATE_ALIGN = 8  # bytes, of every state in the caller's memory


@dataclass(frozen=True)
class ArenaPlan:
    """One RAM region's share. name: the region's; bytes, work: as Plan.arena and Plan.work, of this region alone."""

    name: str
    bytes: int
    work: int


@dataclass(frozen=True)
class Plan:
    """Offsets in bytes from the start of the arena, of several arenas each from its own one's.

    tensors: run-time tensor -> offset; scratch: node name -> offset; lines: tensor inside a stream -> offset; state:
    first node of a stream -> offset of its counters; storage: tensor -> buffer whose bytes it uses; arena: bytes with
    the caller's input and output inside; work: bytes when the caller keeps both elsewhere; lower_bound: proven for
    this schedule; ranges: ticks [lower, upper) of each unit (layer alone or stream) of the schedule, on the time scale
    of the buffers; live: most bytes alive while each layer runs, in order.

    Where RAM regions are named: arenas: those that hold buffers; region: buffer -> index into arenas; own_region: the
    same for a node's scratch and, of a stream's first node, its counters; several: there was more than one region to
    choose from, and the C takes an array of arenas. arena and work are sums over them then, and lower_bound is of all
    buffers in one memory: what no division among regions can be below.

    variables: run-time tensor whose bytes are a state's -> offset in the memory that the caller keeps from run to run,
    outside all arenas; state_bytes: its size.
    """

    tensors: Mapping[str, int]
    scratch: Mapping[str, int]
    lines: Mapping[str, int]
    state: Mapping[str, int]
    storage: Mapping[str, str]
    buffers: tuple[Buffer, ...]
    offsets: Mapping[str, int]
    io: frozenset[str]
    arena: int
    work: int
    lower_bound: int
    optimal: bool
    ranges: tuple[tuple[int, int], ...]
    live: tuple[int, ...]
    arenas: tuple[ArenaPlan, ...] = ()
    region: Mapping[str, int] = field(default_factory=dict)
    own_region: Mapping[str, int] = field(default_factory=dict)
    several: bool = False
    variables: Mapping[str, int] = field(default_factory=dict)
    state_bytes: int = 0

    def arena_of(self, tensor: str) -> int:
        """Index of the arena that holds the tensor, or the buffer of that name."""
        return self.region.get(self.storage.get(tensor, tensor), 0)


def plan(
    graph: Graph,
    schedule: Schedule,
    fast: bool = False,
    time_limit_s: float = 5.0,
    regions: Sequence[Region] = (),
    most: int | None = None,
) -> Plan:
    """Lifetimes, exact placement (best fit and bound when fast), independent validation.

    regions: RAM that the buffers may lie in, () for one arena of any size. Model inputs, outputs and the push buffer go
    where DMA reaches, if it reaches any of them; the rest by traffic, hot buffers to cheap regions. most: bytes that
    all arenas together may take, for which fast regions are used less where that helps.
    Raises McucError("over-budget") where they do not fit the regions.
    """
    found = lifetimes(graph, schedule)
    variables, state_bytes = _states(graph, found)
    validate_states(graph.states, [_tensors(unit, graph) for unit in schedule.segments], found.states)
    several = len(regions) > 1
    if several:
        placed = _in_regions(graph, schedule, found, regions, most, time_limit_s, fast)
    else:
        placement, work = place_with_io(found.buffers, found.io, time_limit_s=time_limit_s, fast=fast)
        validate(found.buffers, placement.offsets, placement.peak)
        placed = _Placed(placement.offsets, placement.peak, work, placement.lower_bound, placement.optimal)
        if regions:
            placed = _in_one(placed, regions[0])
    at = placed.offsets
    return Plan(
        tensors={n: at[root] + found.offset[n] for n, root in found.storage.items()},
        scratch={node: at[b] for node, b in found.scratch.items()},
        lines={tensor: at[b] + found.within.get(tensor, 0) for tensor, b in found.lines.items()},
        state={node: at[b] for node, b in found.state.items()},
        storage=found.storage,
        buffers=found.buffers,
        offsets=dict(at),
        io=found.io,
        arena=placed.arena,
        work=placed.work,
        lower_bound=placed.lower_bound,
        optimal=placed.optimal,
        ranges=found.ranges,
        live=_live_by_layer(schedule, live_bytes(found.buffers, found.ranges)),
        arenas=placed.arenas,
        region=placed.region,
        own_region={node: placed.region.get(b, 0) for node, b in (*found.scratch.items(), *found.state.items())},
        several=several,
        variables=variables,
        state_bytes=state_bytes,
    )


def _states(graph: Graph, found: Lifetimes) -> tuple[dict[str, int], int]:
    """Offsets of the states one after the other, and of what has their bytes; the size of all."""
    at: dict[str, int] = {}
    size = 0
    for state in graph.states:
        at[state.current] = at[state.next] = size
        size += (graph.tensors[state.current].bytes + STATE_ALIGN - 1) & -STATE_ALIGN
    return at | {n: at[view.root] + view.offset for n, view in found.states.items()}, size


def _tensors(unit: Layer | Segment, graph: Graph) -> tuple[frozenset[str], frozenset[str]]:
    """Run-time tensors that a unit reads and writes."""
    layers = (unit,) if isinstance(unit, Layer) else unit.members
    nodes = [layer.node for layer in layers if isinstance(layer, Layer)]
    read = frozenset(n for node in nodes for n in graph.runtime_inputs(node))
    return read, frozenset(n for node in nodes for n in node.outputs)


@dataclass(frozen=True)
class _Placed:
    """The part of a Plan that placement decides; fields as there."""

    offsets: Mapping[str, int]
    arena: int
    work: int
    lower_bound: int
    optimal: bool
    arenas: tuple[ArenaPlan, ...] = ()
    region: Mapping[str, int] = field(default_factory=dict)


def _in_one(placed: _Placed, region: Region) -> _Placed:
    if placed.arena > region.size:
        raise McucError(
            "over-budget",
            f"the arena takes {placed.arena:,} bytes, {region.name} has room for {region.size:,}",
            where=f"region {region.name}",
            try_this="more or larger regions",
        )
    return replace(placed, arenas=(ArenaPlan(region.name, placed.arena, placed.work),))


def _in_regions(
    graph: Graph,
    schedule: Schedule,
    found: Lifetimes,
    regions: Sequence[Region],
    most: int | None,
    time_limit_s: float,
    fast: bool,
) -> _Placed:
    reached = frozenset(r.name for r in regions if r.dma)
    ends = frozenset(found.storage[n] for n in (*graph.inputs, *graph.outputs) if n in found.storage)
    outside = [b.id for b in found.buffers if b.id in ends | _push_buffers(schedule)]
    result = assign(
        found.buffers,
        traffic(graph, schedule, found),
        regions,
        dict.fromkeys(outside, reached) if reached else {},
        together=_together(schedule, found),
        io=found.io,
        most=most,
        time_limit_s=time_limit_s,
        fast=fast,
    )
    arenas = []
    offsets: dict[str, int] = {}
    for name, placement in result.placements.items():
        held = [b for b in found.buffers if result.region[b.id] == name]
        size = next(r.size for r in regions if r.name == name)
        validate(held, placement.offsets, min(size, placement.peak))
        offsets |= placement.offsets
        arenas.append(ArenaPlan(name, placement.peak, result.work[name]))
    index = {a.name: i for i, a in enumerate(arenas)}
    total, bound = sum(a.bytes for a in arenas), lower_bound(found.buffers)
    region = {b.id: index[result.region[b.id]] for b in found.buffers}
    return _Placed(offsets, total, sum(a.work for a in arenas), bound, total == bound, tuple(arenas), region)


def _push_buffers(schedule: Schedule) -> frozenset[str]:
    streams = (unit.stream for unit in schedule.segments if isinstance(unit, Segment))
    return frozenset(push_buffer(s.pushed) for s in streams if s is not None and s.pushed is not None)


def _together(schedule: Schedule, found: Lifetimes) -> list[frozenset[str]]:
    """What the functions of a stream find from one base: lines, sums, scratch, counters."""
    sets = []
    for unit in schedule.segments:
        if isinstance(unit, Segment) and unit.stream is not None:
            nodes = [layer.node.name for layer in unit.members if isinstance(layer, Layer)]
            lines = {found.lines[n] for n in unit.stream.lines if n in found.lines}
            own = {m[n] for m in (found.scratch, found.state) for n in nodes if n in m}
            sets.append(frozenset(lines | own))
    return sets


def live_bytes(buffers: Sequence[Buffer], ranges: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The most bytes alive within each range of ticks."""
    end = max((upper for _, upper in ranges), default=0)
    change = [0] * (end + 1)
    for b in buffers:
        for s in b.spans or (Span(b.lower, b.upper, 0, b.size),):
            change[s.lower] += s.end - s.start
            change[min(s.upper, end)] -= s.end - s.start
    total, levels = 0, []
    for delta in change:
        total += delta
        levels.append(total)
    return tuple(max(levels[lower:upper], default=0) for lower, upper in ranges)


def _live_by_layer(schedule: Schedule, live: Sequence[int]) -> tuple[int, ...]:
    found: list[int] = []
    for unit, most in zip(schedule.segments, live, strict=True):
        found += [most] * (1 if isinstance(unit, Layer) else len(unit.members))
    return tuple(found)
