"""The plan: at which address every byte of a schedule lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcuc.ir import Graph
from mcuc.plan.lifetimes import lifetimes
from mcuc.plan.place import Buffer, place_with_io
from mcuc.plan.validate import validate
from mcuc.schedule import Schedule


@dataclass(frozen=True)
class Plan:
    """Offsets in bytes from the arena's start.

    tensors: run-time tensor -> offset; scratch: node name -> offset; arena: bytes with the caller's input and output
    inside; storage: tensor -> buffer whose bytes it uses; work: bytes when the caller keeps both
    elsewhere; lower_bound: proven for layer-by-layer schedules in this
    order; live: bytes alive while each layer runs, in order.
    """

    tensors: Mapping[str, int]
    scratch: Mapping[str, int]
    storage: Mapping[str, str]
    buffers: tuple[Buffer, ...]
    offsets: Mapping[str, int]
    io: frozenset[str]
    arena: int
    work: int
    lower_bound: int
    optimal: bool
    live: tuple[int, ...]


def plan(graph: Graph, schedule: Schedule, fast: bool = False, time_limit_s: float = 5.0) -> Plan:
    """Lifetimes, exact placement (best fit and bound when fast), independent validation."""
    found = lifetimes(graph, schedule)
    placement, work = place_with_io(found.buffers, found.io, time_limit_s=time_limit_s, fast=fast)
    validate(found.buffers, placement.offsets, placement.peak)
    live = tuple(sum(b.size for b in found.buffers if b.lower <= t < b.upper) for t in range(len(schedule.layers)))
    return Plan(
        tensors={n: placement.offsets[root] for n, root in found.storage.items()},
        scratch={node: placement.offsets[b] for node, b in found.scratch.items()},
        storage=found.storage,
        buffers=found.buffers,
        offsets=dict(placement.offsets),
        io=found.io,
        arena=placement.peak,
        work=work,
        lower_bound=placement.lower_bound,
        optimal=placement.optimal,
        live=live,
    )
