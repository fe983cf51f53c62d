"""The one driver of the circle kernel - scratch - placement - fit: the first schedule whose plan fits wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.plan import Plan, plan
from mcuc.plan.regions import Region
from mcuc.schedule import Schedule
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
    """The first candidate whose arenas are at most `arena` bytes and fit the regions; None where no plan does."""
    most = min(arena, sum(r.size for r in regions)) if regions else arena
    for candidate in candidates:
        if candidate.peak <= most:
            try:
                found = plan(candidate.graph, candidate.schedule, regions=regions, most=arena)
            except McucError as error:
                if error.code != "over-budget":
                    raise
                continue
            if found.arena <= arena:
                return Fitted(candidate, found)
    return None


def least(candidates: Sequence[Candidate], regions: Sequence[Region] = (), once: bool = False) -> Fitted:
    """The smallest arena among the candidates with the lowest peaks. once: of those that compute nothing twice.

    Raises McucError("over-budget") where none of them fits the regions.
    """
    planned = []
    refused: McucError | None = None
    pool = [c for c in candidates if not (once and c.recomputed)] or candidates
    for c in sorted(pool, key=lambda c: c.peak)[:LEAST_TRIES]:
        try:
            planned.append(Fitted(c, plan(c.graph, c.schedule, regions=regions, most=0)))
        except McucError as error:
            if error.code != "over-budget":
                raise
            refused = refused or error
    if not planned:
        assert refused is not None
        raise refused
    return min(planned, key=lambda f: (f.plan.arena, f.candidate.cost))


def over_budget(fitted: Fitted, beside: int, budget: int, remedies: Sequence[str]) -> McucError:
    """What does not fit even in the smallest schedule, where its peak is, and what would help.

    beside: bytes of static data and stack; remedies: in words, the cheapest first.
    """
    graph, found = fitted.graph, fitted.plan
    step = max(range(len(found.live)), key=lambda t: found.live[t])
    layer = fitted.schedule.layers[step]
    inputs = ", ".join(f"{n!r} {graph.tensors[n].bytes:,} B" for n in graph.runtime_inputs(layer.node))
    out = graph.tensors[layer.node.outputs[0]]
    total = found.arena + beside
    return McucError(
        "over-budget",
        f"the least that the model takes is {total:,} bytes ({total / 1024:.1f} KB): arena {found.arena:,}, static "
        f"data and stack {beside:,}; the SRAM budget is {budget:,} ({budget / 1024:.1f} KB): "
        f"{total - budget:,} bytes over",
        where=f"layer {layer.node.name} is where {found.live[step]:,} bytes are in use "
        f"(in {inputs}; out {out.name!r} {out.bytes:,} B)",
        try_this="; ".join(remedies),
    )
