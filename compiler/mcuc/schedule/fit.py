"""The one driver of the circle kernel - scratch - placement - fit: the first schedule whose plan fits wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.plan import Plan, live_bytes, plan
from mcuc.plan.regions import Region
from mcuc.schedule import Layer, Schedule, Segment
from mcuc.schedule.explore import Candidate

LEAST_TRIES = 4  # of the candidates with the lowest peaks, whose placements may come out in another order


@dataclass(frozen=True, eq=False)
class Fitted:
    """A schedule with its plan. graph: with its nodes in the schedule's order."""

    candidate: Candidate
    plan: Plan

    @property
    def graph(self) -> Graph:
        return self.candidate.graph

    @property
    def schedule(self) -> Schedule:
        return self.candidate.schedule


def fit(candidates: Sequence[Candidate], arena: int, regions: Sequence[Region] = ()) -> Fitted | None:
    """The first candidate whose arenas are at most `arena` bytes and fit the regions; None where no plan does.

    Memory outside the chip is taken only where none fits inside: a slower schedule costs less than its accesses.
    """
    for rooms in _inside_first(regions):
        most = min(arena, sum(r.size for r in rooms)) if rooms else arena
        for candidate in candidates:
            found = _planned(candidate, rooms, arena) if candidate.peak <= most else None
            if isinstance(found, Plan) and found.arena <= arena:
                return Fitted(candidate, found)
    return None


def least(candidates: Sequence[Candidate], regions: Sequence[Region] = (), once: bool = False) -> Fitted:
    """The smallest arena among the candidates with the lowest peaks, outside the chip only where none fits inside.
    once: of those that compute nothing twice, unless none of them fits.

    Raises McucError("over-budget") where none of them fits the regions.
    """
    pool = [c for c in candidates if not (once and c.recomputed)] or candidates
    lowest = sorted(pool, key=lambda c: c.peak)[:LEAST_TRIES]
    refused: McucError | None = None
    for rooms in _inside_first(regions):
        found = [(c, _planned(c, rooms, 0)) for c in lowest]
        fitted = [Fitted(c, p) for c, p in found if isinstance(p, Plan)]
        if fitted:
            return min(fitted, key=lambda f: (f.plan.arena, f.candidate.cost))
        refused = next(p for _, p in found if isinstance(p, McucError))
    if once and len(pool) < len(candidates):
        return least(candidates, regions)
    assert refused is not None
    raise refused


def _planned(candidate: Candidate, regions: Sequence[Region], most: int) -> Plan | McucError:
    """The plan, or why there is none in these regions."""
    try:
        return plan(candidate.graph, candidate.schedule, regions=regions, most=most)
    except McucError as error:
        if error.code != "over-budget":
            raise
        return error


def _inside_first(regions: Sequence[Region]) -> tuple[tuple[Region, ...], ...]:
    """The regions without room outside the chip, and then with it."""
    inside = tuple(replace(r, size=0) if r.external else r for r in regions)
    return (inside,) if inside == tuple(regions) else (inside, tuple(regions))


def over_budget(fitted: Fitted, beside: int, budget: int, remedies: Sequence[str]) -> McucError:
    """What does not fit even in the smallest schedule, where its peak is, and what would help.

    beside: bytes of static data and stack; remedies: in words, the cheapest first.
    """
    graph, found = fitted.graph, fitted.plan
    units, live = fitted.schedule.segments, live_bytes(found.buffers, found.ranges)
    step = max(range(len(units)), key=lambda t: live[t])
    total = found.arena + beside
    return McucError(
        "over-budget",
        f"with its smallest arena the model takes {total:,} bytes ({total / 1024:.1f} KB): arena {found.arena:,}, "
        f"static data and stack {beside:,}; the SRAM budget is {budget:,} ({budget / 1024:.1f} KB): "
        f"{total - budget:,} bytes over",
        where=f"{_unit_words(units[step], graph)}: {live[step]:,} bytes are in use there",
        try_this="; ".join(remedies),
    )


def _unit_words(unit: Layer | Segment, graph: Graph) -> str:
    """A layer with its tensors, or a stream with the tensors that it keeps the most bytes of."""
    if isinstance(unit, Layer):
        inputs = ", ".join(f"{n!r} {graph.tensors[n].bytes:,} B" for n in graph.runtime_inputs(unit.node))
        out = graph.tensors[unit.node.outputs[0]]
        return f"layer {unit.node.name} (in {inputs}; out {out.name!r} {out.bytes:,} B)"
    assert unit.stream is not None
    names = [layer.node.name for layer in unit.members if isinstance(layer, Layer)]
    lines = sorted(unit.stream.lines.items(), key=lambda line: -line[1].bytes)[:2]
    kept = ", ".join(f"{line.bytes:,} B of {name!r}" for name, line in lines)
    return f"the stream of layers {names[0]} to {names[-1]} (lines: {kept})"
