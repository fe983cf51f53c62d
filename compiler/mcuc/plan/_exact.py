"""Exact search for buffer placements: may these intervals be stacked within a given height?

The search space is the canonical placements: buffers are put down in the order of their offsets, each on top of what
already lies beneath it. Every feasible placement can be pushed down into one whose sum of offsets is minimal, and in
such a placement every buffer lies on the floor or on another one. The search keeps for every open buffer the least
offset that it can still have, and for every section (moment) the least offset at which it goes on. It takes a buffer of
the lowest least offset and decides whether it lies right there. If not, it lies on a buffer that is still open, so its
least offset rises to the lowest end that one of those could have. Pruning and guidance:
  sections   a section goes on no lower than the lowest open buffer in it; that plus its open bytes bounds the height;
  lookahead  of the buffers in question the first few (`width`) are tried: one that leads to a contradiction is lifted
             at once, else the one comes first that leaves the fewest bytes unusable, relative to what is to spare;
  groups     open buffers that share no moment are solved separately at every node.
Canonical placements and the bound by sections are those of Moffitt, "MiniMalloc: a lightweight memory allocator for
hardware-accelerated machine learning" (ASPLOS 2023); the code is our own.

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


class _Search:
    """The state at a node, by buffer (is_open, base, least) and by section (floor, load, capped_load), and its undoing.

    base: the offset on what has been put down. least: the least offset, higher than the base for a buffer that was
    lifted; once a buffer is put down its offset. load: bytes of the open buffers.
    raised: by how much the last narrowing raised each floor.
    """

    def __init__(self, problem: Problem, height: int, capped_height: int, node_limit: int, deadline: float) -> None:
        count, sections = problem.count, problem.sections
        first, end = problem.first, problem.end
        self.problem, self.height, self.capped_height = problem, height, capped_height
        self.two_limits = capped_height < height and any(problem.capped)
        self.limit = [capped_height if c else height for c in problem.capped]
        self.nodes, self.node_limit, self.deadline = 0, node_limit, deadline
        self.neighbours = [
            [j for j in range(count) if j != i and first[j] < end[i] and first[i] < end[j]] for i in range(count)
        ]
        self.is_open, self.base, self.least = [1] * count, [0] * count, [0] * count
        self.floor, self.raised = [0] * sections, [0] * sections
        self.load, self.capped_load = [0] * sections, [0] * sections
        for i in range(count):
            for k in range(first[i], end[i]):
                self.load[k] += problem.size[i]
                self.capped_load[k] += problem.size[i] * problem.capped[i]
        self.trail: list[tuple[list[int], int, int]] = []

    def set(self, values: list[int], index: int, value: int) -> None:
        self.trail.append((values, index, values[index]))
        values[index] = value

    def undo(self, length: int) -> None:
        while len(self.trail) > length:
            values, index, value = self.trail.pop()
            values[index] = value


def _supports(s: _Search, todo: Sequence[int]) -> bool:
    """A lifted buffer lies on one that is still open, or it would drop to its base. False when there is none such."""
    size, align = s.problem.size, s.problem.align
    rises: list[tuple[int, int]] = []
    for i in todo:
        if s.least[i] > s.base[i]:
            beneath = [j for j in s.neighbours[i] if s.is_open[j]]
            if not beneath or min(s.least[j] for j in beneath) >= s.base[i] + size[i]:
                return False
            end = min(s.least[j] + size[j] for j in beneath)
            rises.append((i, end + -end % align[i]))
    for i, at in rises:
        if at > s.least[i]:
            s.set(s.least, i, at)
    return True


def _narrow(s: _Search, todo: Sequence[int]) -> bool:
    """Raise the least offsets and floors of a group to what follows from each other; False when something does not fit.

    Floors rise once only: to the lowest buffer of the section, so no buffer has to rise on their account.
    """
    s.nodes += 1
    if s.nodes > s.node_limit or (s.nodes % WALL_CHECK_NODES == 0 and time.monotonic() > s.deadline):
        raise _Stopped
    if not _supports(s, todo):
        return False
    first, end, size = s.problem.first, s.problem.end, s.problem.size
    start, stop = min(first[i] for i in todo), max(end[i] for i in todo)
    s.raised[start:stop] = [0] * (stop - start)
    lowest, lowest_capped = [s.height + 1] * stop, [s.height + 1] * stop
    for i in todo:
        at = s.least[i]
        if at + size[i] > s.limit[i]:
            return False
        for k in range(first[i], end[i]):
            lowest[k] = min(lowest[k], at)
            if s.problem.capped[i]:
                lowest_capped[k] = min(lowest_capped[k], at)
    for k in range(start, stop):
        if not s.load[k]:
            continue
        if lowest[k] > s.floor[k]:
            s.raised[k] = lowest[k] - s.floor[k]
            s.set(s.floor, k, lowest[k])
        if s.floor[k] + s.load[k] > s.height:
            return False
        if s.two_limits and s.capped_load[k] and lowest_capped[k] + s.capped_load[k] > s.capped_height:
            return False
    return True


def _put(s: _Search, i: int) -> None:
    """The buffer lies at its least offset, and all that are open and live with it lie above it."""
    size, capped, top = s.problem.size[i], s.problem.capped[i], s.least[i] + s.problem.size[i]
    s.set(s.is_open, i, 0)
    for k in range(s.problem.first[i], s.problem.end[i]):
        s.set(s.floor, k, top)
        s.set(s.load, k, s.load[k] - size)
        if capped:
            s.set(s.capped_load, k, s.capped_load[k] - size)
    for j in s.neighbours[i]:
        if s.is_open[j]:
            base = top + -top % s.problem.align[j]
            s.set(s.base, j, max(s.base[j], base))
            s.set(s.least, j, max(s.least[j], base))


def _lift(s: _Search, i: int) -> bool:
    """The buffer lies higher than its least offset, on an open one. False when there is no room for that."""
    ends = [s.least[j] + s.problem.size[j] for j in s.neighbours[i] if s.is_open[j]]
    if not ends:
        return False
    at = min(ends)
    s.set(s.least, i, at + -at % s.problem.align[i])
    return s.least[i] + s.problem.size[i] <= s.limit[i]


def _unusable(s: _Search, todo: Sequence[int]) -> int:
    """The bytes that the last narrowing has made unusable: per section in 1024ths of those to spare, squared, summed.

    In integers, so that every machine agrees.
    """
    total = 0
    for k in range(min(s.problem.first[i] for i in todo), max(s.problem.end[i] for i in todo)):
        if s.raised[k]:
            spare = s.height - s.floor[k] + s.raised[k] - s.load[k]
            ratio = min(s.raised[k] * 1024 // (spare + s.height // 1024 + 1), 1 << 20)
            total += ratio * ratio
    return total


def _candidates(s: _Search, todo: Sequence[int], width: int) -> list[int]:
    """The first few of the lowest buffers: first where the fewest bytes are to spare, then by index."""
    level = min(s.least[i] for i in todo)
    ranked = []
    for i in todo:
        if s.least[i] == level:
            sections = range(s.problem.first[i], s.problem.end[i])
            ranked.append((min(s.height - s.floor[k] - s.load[k] for k in sections), i))
    return [i for _, i in sorted(ranked)[:width]]


def _choose(s: _Search, todo: Sequence[int], width: int) -> int | None:
    """The buffer to decide about; None when one of them cannot lie at its least offset (look at its least then)."""
    tried = _candidates(s, todo, width)
    if len(tried) == 1:
        return tried[0]
    best, fewest = -1, 0
    for i in tried:
        length = len(s.trail)
        rest = [j for j in todo if j != i]
        _put(s, i)
        fits = _narrow(s, rest)
        lost = _unusable(s, rest) if fits else 0
        s.undo(length)
        if not fits:
            if not _lift(s, i):
                s.set(s.least, i, s.height + 1)  # nowhere
            return None
        if best < 0 or lost < fewest:
            best, fewest = i, lost
    return best


def _solve(s: _Search, todo: Sequence[int], width: int) -> bool:
    """Put all of one group down. What was changed is left to the caller to undo."""
    while _narrow(s, todo):
        i = _choose(s, todo, width)
        if i is None:
            continue
        length = len(s.trail)
        _put(s, i)
        fits = True
        for group in split(s.problem, [j for j in todo if j != i]):
            fits = fits and _solve(s, group, width)
        if fits:
            return True
        s.undo(length)
        if not _lift(s, i):
            return False
    return False


def decide(
    problem: Problem, height: int, capped_height: int, width: int, node_limit: int, deadline: float
) -> tuple[Verdict, list[int], int]:
    """Search for offsets such that all buffers end within height, the capped ones within capped_height (bytes).

    Of buffers that are otherwise alike the one of lower index comes first. width: how many of them are tried before
    one is chosen. Gives up (UNDECIDED) after node_limit nodes, those of the lookahead included, or at the deadline
    (monotonic seconds), which is only a safety net. Returns the verdict, the offsets by index when it fits, and the
    nodes used.
    """
    s = _Search(problem, height, capped_height, node_limit, deadline)
    fits = True
    try:
        for group in split(problem, range(problem.count)):
            fits = fits and _solve(s, group, width)
    except _Stopped:
        return Verdict.UNDECIDED, [], node_limit
    return (Verdict.FITS, s.least, s.nodes) if fits else (Verdict.IMPOSSIBLE, [], s.nodes)
