"""The one driver of the circle kernel - scratch - placement - fit: the first schedule whose plan fits wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.plan import Plan, plan
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


def fit(candidates: Sequence[Candidate], arena: int) -> Fitted | None:
    """The first candidate whose arena is at most `arena` bytes; None where no plan is."""
    for candidate in candidates:
        if candidate.peak <= arena:
            found = plan(candidate.graph, candidate.schedule)
            if found.arena <= arena:
                return Fitted(candidate, found)
    return None


def least(candidates: Sequence[Candidate]) -> Fitted:
    """The smallest arena among the candidates with the lowest peaks."""
    lowest = sorted(candidates, key=lambda c: c.peak)[:LEAST_TRIES]
    planned = [Fitted(c, plan(c.graph, c.schedule)) for c in lowest]
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
