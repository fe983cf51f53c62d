"""The one driver of the circle kernel - scratch - placement - fit: the first schedule whose plan fits wins."""

from __future__ import annotations

from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.plan import Plan, plan
from mcuc.schedule import Schedule
from mcuc.schedule.explore import explore
from mcuc.targets import Board


def fit(graph: Graph, board: Board, goal: str, budget: int, least: bool = False) -> tuple[Schedule, Plan]:
    """The cheapest schedule by the goal whose arena fits the budget (bytes), with its plan; least: the smallest arena.

    Raises McucError("over-budget") naming the layer of the peak and what to try.
    """
    best: tuple[Schedule, Plan] | None = None
    for schedule in explore(graph, board.chip, goal):
        found = plan(graph, schedule)
        if found.arena <= budget and not least:
            return schedule, found
        if best is None or found.arena < best[1].arena:
            best = (schedule, found)
    assert best is not None
    if best[1].arena <= budget:
        return best
    raise over_budget(graph, *best, budget, board)


def over_budget(graph: Graph, schedule: Schedule, found: Plan, budget: int, board: Board) -> McucError:
    """What does not fit, where the peak is, and what would help."""
    step = max(range(len(found.live)), key=lambda t: found.live[t])
    node = schedule.layers[step].node
    inputs = ", ".join(f"{n!r} {graph.tensors[n].bytes:,} B" for n in graph.runtime_inputs(node))
    out = graph.tensors[node.outputs[0]]
    return McucError(
        "over-budget",
        f"the arena needs {found.arena:,} bytes ({found.arena / 1024:.1f} KB), the SRAM budget is {budget:,} "
        f"({budget / 1024:.1f} KB): {found.arena - budget:,} bytes over",
        where=f"layer {node.name} holds the peak of {found.live[step]:,} bytes "
        f"(in {inputs}; out {out.name!r} {out.bytes:,} B)",
        try_this="a board with more SRAM (mcuc boards), a smaller input, or fewer channels in the layer named; "
        f"{board.name} has {board.sram_bytes:,} bytes",
    )
