"""The schedule that a request gets: what is explored for it, which candidate fits, what is said where none does."""

from __future__ import annotations

from collections.abc import Sequence

from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.plan import plan as make_plan
from mcuc.plan.regions import Region
from mcuc.request import Request
from mcuc.schedule.explore import Explored, explore
from mcuc.schedule.fit import Fitted, fit, least, over_budget
from mcuc.schedule.remedies import remedies
from mcuc.targets import Board

LINK_ROOM = 8192  # bytes beside the arena with which every firmware links


def schedule_goal(request: Request) -> str:
    """What the schedule is chosen for: a budget in bytes wants the fastest that fits it, else --optimize decides."""
    return "latency" if request.budget is not None and request.optimize == "balanced" else request.optimize


def pushed_input(graph: Graph, request: Request) -> str | None:
    """The input that arrives by rows, None where none was asked for. McucError("rows-in") for several inputs."""
    if not request.rows_in:
        return None
    if len(graph.inputs) != 1:
        raise McucError(
            "rows-in",
            f"the model has {len(graph.inputs)} inputs, one can arrive by rows",
            where=", ".join(graph.inputs),
            try_this="compile without --rows-in",
        )
    return graph.inputs[0]


def fit_or_refuse(
    explored: Explored, board: Board, budget: int, beside: int, request: Request, regions: Sequence[Region] = ()
) -> Fitted:
    """The schedule to take: the first by the goal whose arena fits beside the other bytes, or the smallest.

    Where the smallest is asked for, it is the smallest that computes nothing twice: strips can save a little more at
    twice the MACs, which is worth it only to meet a budget.
    regions: RAM that the arenas must fit, () for one arena of any size.
    Raises McucError("over-budget") with what would help.
    """
    try:
        if request.least:
            found: Fitted | None = least(explored.candidates, regions, once=True)
        else:
            found = fit(explored.candidates, budget - beside, regions)
        if found is not None and found.plan.arena + beside <= budget:
            return found
        smallest = least(explored.candidates, regions)
    except McucError as error:  # the regions are too small, together or one by one
        room = min(budget - beside, sum(r.size for r in regions))
        total = min(c.peak for c in explored.candidates) + beside
        ways = remedies(explored, board, room, total, budget)
        raise McucError(error.code, error.found, error.where, "; ".join([error.try_this, *ways])) from error
    firmware_first = beside == 0 and smallest.plan.arena + LINK_ROOM <= board.sram_bytes
    if smallest.plan.arena + beside <= budget or firmware_first:
        return smallest  # also to be refused with its stack and static data counted
    total = smallest.plan.arena + beside
    ways = remedies(explored, board, budget - beside, total, budget)
    raise over_budget(smallest, beside, budget, ways)


def weights_in_ram(weight_bytes: int, arena: int, board: Board, budget: int, request: Request) -> bool:
    """Whether the firmware copies its weights to SRAM at start: where speed is asked for, the flash waits, no data
    cache holds them all, and there is room beside the arena. Not with named RAM regions, which are for buffers."""
    chip = board.chip
    waits = chip.flash.wait_states > 0 and weight_bytes > chip.caches.dcache_bytes
    fits = arena + weight_bytes + LINK_ROOM <= budget
    return request.optimize == "latency" and not request.regions and not request.least and waits and fits


def memory_notes(
    explored: Explored, fitted: Fitted, board: Board, budget: int, request: Request
) -> tuple[str, ...]:
    """What the report says of the order of layers, and of the SRAM that rows in saves."""
    ordered = explored.ordered
    notes = []
    if not ordered.exact:
        notes.append(
            f"order of layers: {ordered.peak:,} bytes layer by layer, no order is proven below {ordered.bound:,} bytes"
        )
    lowest = min(explored.candidates, key=lambda c: c.peak)
    if request.least and lowest.peak < fitted.plan.arena and lowest.recomputed:
        arena = make_plan(lowest.graph, lowest.schedule).arena
        if arena < fitted.plan.arena:
            notes.append(
                f"a smaller --budget gets schedules that compute MACs twice: an arena of {arena:,} bytes takes "
                f"{lowest.recomputed:,} more"
            )
    if request.rows_in:
        whole = explore(explored.ordered.graph, board.chip, schedule_goal(request)).candidates
        held = least(whole, once=True) if request.least else fit(whole, budget) or least(whole)
        saved = "" if fitted.plan.arena < held.plan.arena else ": no memory is saved here"
        notes.append(
            f"rows in: the arena takes {fitted.plan.arena:,} bytes, {held.plan.arena:,} bytes with the input held "
            f"whole{saved}"
        )
    return tuple(notes)
