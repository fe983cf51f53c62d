"""Where each buffer lies in the arena: fast heuristics, and the provably lowest arena.

Results are deterministic. The exact search ends after a fixed number of nodes (NODE_LIMIT), not after a time; the
time limit is a safety net for slow machines, and a run that it cuts short reports `optimal=False` with the bound that
was proven until then.

All heights are multiples of the greatest common divisor of the alignments: a buffer occupies its size rounded up to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mcuc.plan import _native_blocks
from mcuc.plan._blocks import Blocks
from mcuc.plan._exact import Problem, Verdict, permuted
from mcuc.plan._floors import by_floors
from mcuc.plan._greedy import fit, orders, search_orders
from mcuc.plan._native import decide
from mcuc.plan._problem import Buffer, Part, Span, check, parts
from mcuc.plan._staircase import lowest_peak, lowest_work

__all__ = ["Buffer", "Placement", "Span", "lower_bound", "place", "place_with_io"]

NODE_LIMIT = 400_000
FIRST_ROUND_NODES = 300
LOOKAHEADS = (1, 4)  # the widths of the exact search: some problems need none, some need it
MANY = 12  # buffers with spans, from which on floors are tried
CROWDED, NEARLY = 100, 64  # of more buffers, a placement by floors that is above the bound by so small a part will do
REVISIONS_A_NODE = 50  # of the search with spans, which take about as long together


@dataclass(frozen=True)
class Placement:
    """Offsets in bytes by buffer id; peak: the arena's bytes; lower_bound: no plan of these buffers can be lower.

    optimal: peak == lower_bound. work_lower_bound is set by `place_with_io` only: no plan whose peak is this one's
    has its non-io buffers end lower. nodes: what the exact search took, the same on every machine.
    """

    offsets: Mapping[str, int]
    peak: int
    lower_bound: int
    optimal: bool
    work_lower_bound: int = 0
    nodes: int = 0


@dataclass
class _Budget:
    nodes: int
    deadline: float


@dataclass(frozen=True)
class _Task:
    """A part; blocks: what the searches work on where some buffers have spans, else None."""

    part: Part
    blocks: Blocks | None


@dataclass(frozen=True)
class _Best:
    offsets: list[int]
    height: int
    bound: int


# (height, capped_height, nodes allowed, deadline) -> (verdict, offsets by index where it fits, nodes used)
Ask = Callable[[int, int, int, float], tuple[Verdict, list[int], int]]


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """The most bytes in use at one step, each size rounded up to the common alignment.

    Raises McucError("invalid-buffer") for a negative size, an inverted lifetime or a name given twice.
    """
    check(buffers)
    return max((part.bound for part in parts(buffers)), default=0)


def _height(problem: Problem, offsets: Sequence[int], only_capped: bool = False) -> int:
    tops = (o + s for o, s, c in zip(offsets, problem.size, problem.capped, strict=True) if c or not only_capped)
    return max(tops, default=0)


def _heuristic(problem: Problem, enough: int) -> _Best:
    """The lowest of the greedy placements; stops at the first that is not above `enough` bytes."""
    best: _Best | None = None
    for order in orders(problem):
        for tightest in (False, True):
            offsets = fit(problem, order, tightest)
            height = _height(problem, offsets)
            if best is None or height < best.height:
                best = _Best(offsets, height, 0)
            if best.height <= enough:
                return best
    assert best is not None
    return best


def _asks(task: _Task, attempt: int) -> list[Ask]:
    """The exact searches for a placement within (height, capped_height), each with another preference."""
    found, problem = task.blocks, task.part.problem
    if found is not None:

        def ask_blocks(height: int, capped_height: int, nodes: int, deadline: float) -> tuple[Verdict, list[int], int]:
            revisions = nodes * REVISIONS_A_NODE
            verdict, offsets, used = _native_blocks.decide(found, height, capped_height, revisions, deadline)
            return verdict, offsets, -(-used // REVISIONS_A_NODE)

        return [ask_blocks]
    ordered = [(permuted(problem, order), order) for order in search_orders(task.part, attempt)]
    return [_ask_in_order(p, order, width) for width in LOOKAHEADS for p, order in ordered]


def _ask_in_order(problem: Problem, order: Sequence[int], width: int) -> Ask:
    def ask(height: int, capped_height: int, nodes: int, deadline: float) -> tuple[Verdict, list[int], int]:
        verdict, found, used = decide(problem, height, capped_height, width, nodes, deadline)
        offsets = [0] * len(order)
        if verdict is Verdict.FITS:
            for rank, i in enumerate(order):
                offsets[i] = found[rank]
        return verdict, offsets, used

    return ask


def _minimise(
    task: _Task,
    start: _Best,
    enough: int,
    limits: Callable[[int], tuple[int, int]],
    measure: Callable[[Sequence[int]], int],
    budget: _Budget,
) -> _Best:
    """Lower start.height until it is proven minimal or at most `enough`, or the budget is spent.

    limits(target) gives the heights that the search is asked for, measure(offsets) the height reached. Each round asks
    for the lowest height that is not excluded and for the middle of what is open, with every preference, and for the
    least improvement, with a few: which question is easy is not known beforehand. The next round allows three times
    the nodes.
    """
    best, step = start, task.part.step
    attempt = 0
    while best.height > max(best.bound, enough) and budget.nodes > 0 and time.monotonic() < budget.deadline:
        asks = _asks(task, attempt)
        few = [asks[(2 * attempt + k) % len(asks)] for k in range(min(2, len(asks)))]
        low = max(best.bound, enough)
        middle = low + (best.height - low) // 2 // step * step
        questions = [(t, a) for t in (low, middle) for a in asks] + [(best.height - step, a) for a in few]
        for target, ask in questions:
            if not max(best.bound, enough) <= target < best.height or budget.nodes <= 0:
                continue
            allowance = min(FIRST_ROUND_NODES * 3**attempt, budget.nodes)
            verdict, offsets, nodes = ask(*limits(target), allowance, budget.deadline)
            budget.nodes -= nodes
            if verdict is Verdict.FITS:
                best = _Best(offsets, measure(offsets), best.bound)
            elif verdict is Verdict.IMPOSSIBLE:
                best = _Best(best.offsets, best.height, target + step - target % step)
        attempt += 1
    return best


def _solve(task: _Task, enough: int, fast: bool, budget: _Budget) -> _Best:
    part, enough = task.part, max(enough, task.part.bound)
    if task.blocks is None:
        start = _heuristic(part.problem, enough)
    else:
        start = _with_spans(part, task.blocks, enough, fast, budget.deadline)
    start = _Best(start.offsets, start.height, part.bound)
    if fast:
        return start
    return _minimise(task, start, enough, lambda t: (t, t), lambda o: _height(part.problem, o), budget)


def _with_spans(part: Part, found: Blocks, enough: int, fast: bool, deadline: float) -> _Best:
    """The lower of the placement by floors and that of the search, which is left out where floors are good enough."""
    best: _Best | None = None
    if part.problem.count >= MANY:

        def solve(few: Part) -> list[int]:
            return lowest_peak(few, _native_blocks.blocks(few), few.bound, fast, deadline)

        offsets = by_floors(part, solve)
        best = _Best(offsets, _height(part.problem, offsets), 0)
        if best.height <= enough + (enough // NEARLY if part.problem.count > CROWDED else 0):
            return best
    offsets = lowest_peak(part, found, enough, fast, deadline)
    height = _height(part.problem, offsets)
    return best if best is not None and best.height <= height else _Best(offsets, height, 0)


def _named(buffers: Sequence[Buffer], solved: Sequence[tuple[_Task, _Best]]) -> dict[str, int]:
    offsets = {b.id: 0 for b in buffers}
    for task, best in solved:
        offsets.update(zip(task.part.names, best.offsets, strict=True))
    return offsets


def _tasks(found: Sequence[Part]) -> list[_Task]:
    return [_Task(part, _native_blocks.blocks(part) if part.has_spans else None) for part in found]


def _place_tasks(
    tasks: Sequence[_Task], capacity: int | None, fast: bool, budget: _Budget
) -> list[tuple[_Task, _Best]]:
    """Solve each part only as far as it can matter for the highest."""
    enough = max([capacity or 0, *(task.part.bound for task in tasks)])
    solved = []
    for task in tasks:
        best = _solve(task, enough, fast, budget)
        enough = max(enough, best.height)
        solved.append((task, best))
    return solved


def place(
    buffers: Sequence[Buffer], capacity: int | None = None, time_limit_s: float = 5.0, fast: bool = False
) -> Placement:
    """Offsets such that no two buffers overlap in time and space, in the lowest arena.

    fast: greedy placements only, for use inside a search. capacity (bytes): stop at the first placement within it.
    Without fast the result is proven minimal (`optimal`) unless the node limit or time_limit_s was reached first.
    A capacity that cannot be kept is no error here: the lowest placement found is returned, and its bound says whether
    the capacity is impossible.
    Raises McucError("invalid-buffer") as `lower_bound` does.
    """
    check(buffers)
    budget = _Budget(NODE_LIMIT, time.monotonic() + time_limit_s)
    solved = _place_tasks(_tasks(parts(buffers)), capacity, fast, budget)
    peak = max((best.height for _, best in solved), default=0)
    bound = max((best.bound for _, best in solved), default=0)
    return Placement(_named(buffers, solved), peak, bound, peak == bound, nodes=NODE_LIMIT - budget.nodes)


def _work_first(task: _Task, height: int, known: _Best, enough: int, fast: bool, budget: _Budget) -> _Best:
    """The lowest end of the capped buffers among greedy placements within `height`, starting from a known placement."""
    part, problem = task.part, task.part.problem
    best = _Best(known.offsets, _height(problem, known.offsets, only_capped=True), part.capped_bound)
    if task.blocks is not None:
        offsets = lowest_work(
            part, task.blocks, height, max(enough, best.bound), fast, budget.deadline, (best.offsets, best.height)
        )
        return _Best(offsets, _height(problem, offsets, only_capped=True), best.bound)
    for order in orders(problem):
        work_then_io = sorted(order, key=lambda i: not problem.capped[i])
        for ranked, tightest in ((r, t) for r in (work_then_io, order) for t in (False, True)):
            offsets = fit(problem, ranked, tightest)
            work = _height(problem, offsets, only_capped=True)
            if work < best.height and _height(problem, offsets) <= height:
                best = _Best(offsets, work, best.bound)
    return best


def place_with_io(
    buffers: Sequence[Buffer], io_ids: frozenset[str] | set[str], time_limit_s: float = 5.0, fast: bool = False
) -> tuple[Placement, int]:
    """As `place`, and among the placements of that peak one where the buffers other than io_ids end lowest.

    Returns the placement and that lowest end, `work`, in bytes: what the arena needs when the caller keeps the model's
    inputs and outputs elsewhere. The peak is proven when `optimal`; work is proven when it equals `work_lower_bound`.
    Each of the two objectives has a node limit and half of time_limit_s of its own.
    Raises McucError("invalid-buffer") as `lower_bound` does.
    """
    check(buffers)
    tasks = _tasks(parts(buffers, frozenset(b.id for b in buffers) - frozenset(io_ids)))
    budget = _Budget(NODE_LIMIT, time.monotonic() + time_limit_s / 2)
    solved = _place_tasks(tasks, None, fast, budget)
    peak = max((best.height for _, best in solved), default=0)
    bound = max((best.bound for _, best in solved), default=0)

    nodes = NODE_LIMIT - budget.nodes
    budget = _Budget(NODE_LIMIT, time.monotonic() + time_limit_s / 2)
    ordered = sorted(solved, key=lambda entry: -entry[0].part.capped_bound)
    enough = max((task.part.capped_bound for task in tasks), default=0)
    final = []
    for task, known in ordered:
        best = _work_first(task, peak, known, enough, fast, budget)
        if not fast:

            def work_of(offsets: Sequence[int], problem: Problem = task.part.problem) -> int:
                return _height(problem, offsets, only_capped=True)

            best = _minimise(task, best, enough, lambda target: (peak, target), work_of, budget)
        enough = max(enough, best.height)
        final.append((task, best))
    work = max((best.height for _, best in final), default=0)
    work_bound = max((best.bound for _, best in final), default=0)
    nodes += NODE_LIMIT - budget.nodes
    return Placement(_named(buffers, final), peak, bound, peak == bound, work_bound, nodes), work
