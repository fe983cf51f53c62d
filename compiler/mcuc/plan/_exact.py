"""Exact search for buffer placements: may these intervals be stacked within a given height?

The search space is the canonical placements: buffers are put down in the order of their offsets (ties by index), each
on top of what already lies beneath it. Every feasible placement can be pushed down into one whose sum of offsets is
minimal, and such a placement has three properties on which the pruning rests:
  order      offsets never fall along the search path, so a level is a floor for everything that is still to come;
  dominance  no buffer may be put at or above the lowest end that some open buffer could reach: that one would drop;
  sections   at each moment, the lowest possible start of the open buffers plus their total size bounds the height.
The ideas are those of Moffitt, "MiniMalloc: a lightweight memory allocator for hardware-accelerated machine learning"
(ASPLOS 2023); the code is our own. Open buffers that share no moment are solved separately at every node.

`_solver.c` is the same search, node for node: a result does not depend on which of the two ran.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

WALL_CHECK_NODES = 256


class Verdict(Enum):
    FITS = "fits"
    IMPOSSIBLE = "impossible"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Problem:
    """Buffers in compressed time: buffer i is live in the sections first[i] <= k < end[i]; size and align in bytes.

    Sections are the maximal sets of buffers that are live together. capped marks the buffers to which the second,
    lower limit applies.
    """

    first: tuple[int, ...]
    end: tuple[int, ...]
    size: tuple[int, ...]
    align: tuple[int, ...]
    capped: tuple[bool, ...]

    @property
    def count(self) -> int:
        return len(self.size)

    @property
    def sections(self) -> int:
        return max(self.end, default=0)


def permuted(problem: Problem, order: Sequence[int]) -> Problem:
    """The same problem with buffer order[r] at index r."""
    return Problem(
        tuple(problem.first[i] for i in order),
        tuple(problem.end[i] for i in order),
        tuple(problem.size[i] for i in order),
        tuple(problem.align[i] for i in order),
        tuple(problem.capped[i] for i in order),
    )


class _Stopped(Exception):
    """The node or wall limit was reached."""


def split(problem: Problem, todo: Sequence[int]) -> list[list[int]]:
    """Groups of `todo` that share no section, earliest first; members keep ascending index."""
    by_time = sorted(todo, key=lambda i: (problem.first[i], i))
    groups: list[list[int]] = []
    reach = -1
    for i in by_time:
        if problem.first[i] >= reach:
            groups.append([])
        groups[-1].append(i)
        reach = max(reach, problem.end[i])
    for group in groups:
        group.sort()
    return groups


def decide(
    problem: Problem, height: int, capped_height: int, node_limit: int, deadline: float
) -> tuple[Verdict, list[int], int]:
    """Is there a placement with every end <= height, and <= capped_height for the capped buffers?

    Candidates are tried by lowest offset, then by index: the caller chooses the preference by permuting the problem.
    Returns the verdict, the offsets in bytes by index (empty unless it fits) and the nodes used. Undecided past
    node_limit, or past the deadline (time.monotonic seconds), which is only a safety net.
    """
    first, end, size, align = problem.first, problem.end, problem.size, problem.align
    limit = [capped_height if c else height for c in problem.capped]
    two_limits = capped_height < height and any(problem.capped)
    everyone = range(problem.count)
    neighbours = [{j for j in everyone if j != i and first[j] < end[i] and first[i] < end[j]} for i in everyone]
    result = [0] * problem.count
    nodes = 0

    def fits_sections(todo: list[int], least: list[int]) -> bool:
        low: dict[int, int] = {}
        load: dict[int, int] = {}
        for i in todo:
            s, start = size[i], least[i]
            for k in range(first[i], end[i]):
                load[k] = load.get(k, 0) + s
                if start < low.get(k, height + 1):
                    low[k] = start
        return all(low[k] + load[k] <= height for k in low)

    def fits_capped(todo: list[int], least: list[int]) -> bool:
        low: dict[int, int] = {}
        load: dict[int, int] = {}
        for i in todo:
            if problem.capped[i]:
                for k in range(first[i], end[i]):
                    load[k] = load.get(k, 0) + size[i]
                    low[k] = min(low.get(k, height + 1), least[i])
        return all(low[k] + load[k] <= capped_height for k in low)

    def descend(todo: list[int], floor: list[int], level: int, last: int) -> bool:
        """Place all of todo (one group), offsets >= level; floor[i]: the lowest offset that is free for i so far."""
        nonlocal nodes
        nodes += 1
        if nodes > node_limit or (nodes % WALL_CHECK_NODES == 0 and time.monotonic() > deadline):
            raise _Stopped
        # A buffer passed over (floor below the level, or an equal one out of turn) must first be lifted by another.
        least = floor.copy()
        ready: list[int] = []
        ceiling = height + 1
        open_set = set(todo)
        for i in todo:
            start = floor[i]
            ceiling = min(ceiling, start + size[i])
            if start > level or (start == level and i > last):
                ready.append(i)
            else:
                lift = min((size[j] for j in neighbours[i] & open_set), default=0)
                if lift == 0:
                    return False
                start = level + lift
                start += -start % align[i]
                least[i] = start
            if start + size[i] > limit[i]:
                return False
        if not fits_sections(todo, least) or (two_limits and not fits_capped(todo, least)):
            return False
        ready = [i for i in ready if floor[i] < ceiling]
        ready.sort(key=lambda i: (floor[i], i))
        for i in ready:
            offset = floor[i]
            top = offset + size[i]
            rest = [j for j in todo if j != i]
            result[i] = offset
            if not rest:
                return True
            raised = floor.copy()
            for j in neighbours[i] & open_set:
                lifted = top + -top % align[j]
                if lifted > raised[j]:
                    raised[j] = lifted
            if all(descend(group, raised, offset, i) for group in split(problem, rest)):
                return True
        return False

    try:
        found = all(descend(group, [0] * problem.count, 0, -1) for group in split(problem, everyone))
    except _Stopped:
        return Verdict.UNDECIDED, [], nodes
    return (Verdict.FITS, result, nodes) if found else (Verdict.IMPOSSIBLE, [], nodes)
