"""The one driver of the circle kernel - scratch - placement - fit: the first schedule whose plan fits wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.plan import Plan, live_bytes, plan
from mcuc.plan.regions import Region
from mcuc.schedule import Layer, Schedule, Segment
from mcuc.schedule.explore import Candidate

SHOWN_NAME = 64  # characters of a tensor's name in a message
BELOW_PEAK = 16  # by such a part of the room a candidate's peak, which is an estimate, may be above its placement
LEAST_TRIES = 4  # of the candidates with the lowest peaks, whose placements may come out in another order


@dataclass(frozen=True, eq=False)
class Fitted:
    """A schedule with its plan: the candidate's own, or one made from it. weights: where they are read, "flash",
    "staged" (some of them, while their layer runs) or "copied" to SRAM at start; graph: with its nodes in the
    schedule's order."""

    candidate: Candidate
    plan: Plan
    schedule: Schedule
    weights: str = "flash"

    @property
    def graph(self) -> Graph:
        return self.candidate.graph


@dataclass(frozen=True)
class Room:
    """What the arenas of a schedule may take. arena: bytes, of all of them; regions: RAM that they must fit, () for one
    arena anywhere."""

    arena: int
    regions: tuple[Region, ...] = ()


def fit(candidates: Sequence[Candidate], room_of: Callable[[Candidate], Room]) -> Fitted | None:
    """The first candidate whose arenas fit its room; None where no plan does.

    Memory outside the chip is taken only where none fits inside: a slower schedule costs less than its accesses.
    """
    rooms = [(candidate, room_of(candidate)) for candidate in candidates]
    for outside in (False, True):
        for candidate, room in rooms:
            regions = room.regions if outside else inside(room.regions)
            if outside and regions == inside(regions):
                continue
            most = min(room.arena, sum(r.size for r in regions)) if regions else room.arena
            hopeless = candidate.peak > most + most // BELOW_PEAK
            found = None if hopeless else _planned(candidate, regions, room.arena)
            if isinstance(found, Plan) and found.arena <= room.arena:
                return Fitted(candidate, found, candidate.schedule)
    return None


def least(candidates: Sequence[Candidate], room_of: Callable[[Candidate], Room], once: bool = False) -> Fitted:
    """The smallest arena among the candidates with the lowest peaks, outside the chip only where none fits inside.
    once: of those that compute nothing twice, unless none of them fits. Those that fit their room come first; where
    none does it is the smallest all the same, for what is said of it.

    Raises McucError("over-budget") where none of them fits the regions.
    """
    pool = [c for c in candidates if not (once and c.recomputed)] or candidates
    lowest = [(c, room_of(c)) for c in sorted(pool, key=lambda c: c.peak)[:LEAST_TRIES]]
    for outside in (False, True):
        found = [(c, r, _planned(c, r.regions if outside else inside(r.regions), 0)) for c, r in lowest]
        fitted = [
            (plan.arena > room.arena, plan.arena, c.cost, Fitted(c, plan, c.schedule))
            for c, room, plan in found
            if isinstance(plan, Plan)
        ]
        if fitted:
            return min(fitted, key=lambda f: f[:3])[3]
    if once and len(pool) < len(candidates):
        return least(candidates, room_of)
    raise next(plan for _, _, plan in found if isinstance(plan, McucError))


def _planned(candidate: Candidate, regions: Sequence[Region], most: int) -> Plan | McucError:
    """The plan, or why there is none in these regions."""
    try:
        return plan(candidate.graph, candidate.schedule, regions=regions, most=most)
    except McucError as error:
        if error.code != "over-budget":
            raise
        return error


def inside(regions: Sequence[Region]) -> tuple[Region, ...]:
    """The regions without room outside the chip."""
    return tuple(replace(r, size=0) if r.external else r for r in regions)


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
        f"{total - budget:,} {'byte' if total - budget == 1 else 'bytes'} over",
        where=f"{_unit_words(units[step], graph)}: {live[step]:,} bytes are in use there",
        try_this="; ".join(remedies),
    )


def _unit_words(unit: Layer | Segment, graph: Graph) -> str:
    """A layer with its tensors, or a stream with the tensors that it keeps the most bytes of."""
    if isinstance(unit, Layer):
        inputs = ", ".join(f"{_short(n)} {graph.tensors[n].bytes:,} B" for n in graph.runtime_inputs(unit.node))
        out = graph.tensors[unit.node.outputs[0]]
        return f"layer {unit.node.name} (in {inputs}; out {_short(out.name)} {out.bytes:,} B)"
    assert unit.stream is not None
    names = [layer.node.name for layer in unit.members if isinstance(layer, Layer)]
    lines = sorted(unit.stream.lines.items(), key=lambda line: -line[1].bytes)[:2]
    kept = ", ".join(f"{line.bytes:,} B of {_short(name)}" for name, line in lines)
    return f"the stream of layers {names[0]} to {names[-1]} (lines: {kept})"


def _short(name: str) -> str:
    """A tensor's name in quotes; exporters join the names of all that they fused, so the middle of a long one goes."""
    return repr(name if len(name) <= SHOWN_NAME else f"{name[: SHOWN_NAME - 20]} ... {name[-15:]}")
