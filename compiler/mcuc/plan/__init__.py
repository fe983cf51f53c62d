"""The plan: at which address every byte of a schedule lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcuc.ir import Graph
from mcuc.plan.lifetimes import lifetimes
from mcuc.plan.place import Buffer, Span, place_with_io
from mcuc.plan.validate import validate
from mcuc.schedule import Layer, Schedule


@dataclass(frozen=True)
class Plan:
    """Offsets in bytes from the arena's start.

    tensors: run-time tensor -> offset; scratch: node name -> offset; lines: tensor inside a stream -> offset; state:
    first node of a stream -> offset of its counters; storage: tensor -> buffer whose bytes it uses; arena: bytes with
    the caller's input and output inside; work: bytes when the caller keeps both elsewhere; lower_bound: proven for
    this schedule; ranges: ticks [lower, upper) of each unit (layer alone or stream) of the schedule, on the time scale
    of the buffers; live: most bytes alive while each layer runs, in order.
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


def plan(graph: Graph, schedule: Schedule, fast: bool = False, time_limit_s: float = 5.0) -> Plan:
    """Lifetimes, exact placement (best fit and bound when fast), independent validation."""
    found = lifetimes(graph, schedule)
    placement, work = place_with_io(found.buffers, found.io, time_limit_s=time_limit_s, fast=fast)
    validate(found.buffers, placement.offsets, placement.peak)
    at = placement.offsets
    return Plan(
        tensors={n: at[root] for n, root in found.storage.items()},
        scratch={node: at[b] for node, b in found.scratch.items()},
        lines={tensor: at[b] for tensor, b in found.lines.items()},
        state={node: at[b] for node, b in found.state.items()},
        storage=found.storage,
        buffers=found.buffers,
        offsets=dict(at),
        io=found.io,
        arena=placement.peak,
        work=work,
        lower_bound=placement.lower_bound,
        optimal=placement.optimal,
        ranges=found.ranges,
        live=_live_by_layer(schedule, live_bytes(found.buffers, found.ranges)),
    )


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
