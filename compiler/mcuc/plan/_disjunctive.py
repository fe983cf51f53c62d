"""Exact search for blocks: may they all end within their limits?

Each clearance leaves a choice, offset i - offset j <= low or >= high. The search keeps for every block the least and
the greatest offset that the choices made so far allow, and for every pair the range of their difference, and narrows
both until nothing changes. Once all blocks fit at their least offsets, that is a placement. Otherwise two of them
collide there: the search branches on the interval that they collide in, of the pair with the least room. As every
branch takes an interval off, it ends.

`_disjunctive.c` is the same search, choice for choice: a result does not depend on which of the two ran.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from mcuc.plan._blocks import Blocks
from mcuc.plan._exact import Verdict

WALL_CHECK_NODES = 256


class _Stopped(Exception):
    """The limit on revisions or the wall limit was reached."""


@dataclass
class _Search:
    """least, most: offsets by block. at_least, at_most: by entry pair, of offset i - offset j, i < j."""

    align: Sequence[int]
    pairs: list[tuple[int, int, list[tuple[int, int]]]]
    pairs_of: list[list[int]]
    least: list[int]
    most: list[int]
    at_least: list[int]
    at_most: list[int]
    revisions: int
    deadline: float
    trail: list[tuple[list[int], int, int]] = field(default_factory=list)

    def set(self, values: list[int], index: int, value: int) -> None:
        self.trail.append((values, index, values[index]))
        values[index] = value

    def undo(self, length: int) -> None:
        while len(self.trail) > length:
            values, index, value = self.trail.pop()
            values[index] = value


def _raise(s: _Search, i: int, offset: int, queue: list[int]) -> None:
    offset += -offset % s.align[i]
    if offset > s.least[i]:
        s.set(s.least, i, offset)
        if i not in queue:
            queue.append(i)


def _lower(s: _Search, i: int, offset: int, queue: list[int]) -> None:
    offset -= offset % s.align[i]
    if offset < s.most[i]:
        s.set(s.most, i, offset)
        if i not in queue:
            queue.append(i)


def _revise(s: _Search, p: int, queue: list[int]) -> bool:
    """Narrow the pair's difference and both offsets; False when nothing is left."""
    i, j, intervals = s.pairs[p]
    least = max(s.at_least[p], s.least[i] - s.most[j])
    most = min(s.at_most[p], s.most[i] - s.least[j])
    for low, high in intervals:
        if low < least < high:
            least = high
    for low, high in reversed(intervals):
        if low < most < high:
            most = low
    if least > most:
        return False
    if least > s.at_least[p]:
        s.set(s.at_least, p, least)
    if most < s.at_most[p]:
        s.set(s.at_most, p, most)
    _raise(s, i, s.least[j] + least, queue)
    _lower(s, j, s.most[i] - least, queue)
    _lower(s, i, s.most[j] + most, queue)
    _raise(s, j, s.least[i] - most, queue)
    return s.least[i] <= s.most[i] and s.least[j] <= s.most[j]


def _narrow(s: _Search, queue: list[int]) -> bool:
    while queue:
        i = queue.pop(0)
        for p in s.pairs_of[i]:
            s.revisions -= 1
            if s.revisions < 0:
                raise _Stopped
            if not _revise(s, p, queue):
                return False
    return True


def _collision(s: _Search) -> tuple[int, int, int, int] | None:
    """Of the pairs that collide at their least offsets, the one with the least room, and the interval:
    (pair, low, high, 1 when above it there is more room than below)."""
    found: tuple[int, int, int, int] | None = None
    tightest = 0
    for p, (i, j, intervals) in enumerate(s.pairs):
        difference = s.least[i] - s.least[j]
        for low, high in intervals:
            if low < difference < high:
                above = s.most[i] - s.least[j] - high
                beneath = low - (s.least[i] - s.most[j])
                room = above + beneath
                if found is None or room < tightest:
                    found, tightest = (p, low, high, int(above > beneath)), room
    return found


@dataclass
class _Choice:
    pair: int
    low: int
    high: int
    above: int
    trail_length: int
    second: bool = False


def _choose(s: _Search, c: _Choice, above: int) -> bool:
    if above:
        s.set(s.at_least, c.pair, max(c.high, s.at_least[c.pair]))
    else:
        s.set(s.at_most, c.pair, min(c.low, s.at_most[c.pair]))
    return _narrow(s, [s.pairs[c.pair][0]])


def _search(s: _Search) -> bool:
    choices: list[_Choice] = []
    open_ended = _narrow(s, list(range(len(s.least))))
    nodes = 0
    while True:
        nodes += 1
        if nodes % WALL_CHECK_NODES == 0 and time.monotonic() > s.deadline:
            raise _Stopped
        if open_ended:
            found = _collision(s)
            if found is None:
                return True
            c = _Choice(*found, trail_length=len(s.trail))
            choices.append(c)
            open_ended = _choose(s, c, c.above)
            continue
        while choices and choices[-1].second:
            choices.pop()
        if not choices:
            return False
        c = choices[-1]
        c.second = True
        s.undo(c.trail_length)
        open_ended = _choose(s, c, 1 - c.above)


def decide(
    blocks: Blocks, height: int, capped_height: int, revisions: int, deadline: float
) -> tuple[Verdict, list[int], int]:
    """Search for offsets such that all blocks end within height, the capped ones within capped_height (bytes).

    Gives up (UNDECIDED) after so many revisions of pairs, or at the deadline (monotonic seconds), which is only a
    safety net. Returns the verdict, the offsets by index when it fits, and the revisions made.
    """
    count = blocks.count
    pairs: list[tuple[int, int, list[tuple[int, int]]]] = []
    pairs_of: list[list[int]] = [[] for _ in range(count)]
    for i in range(count):
        for e in range(blocks.begin[i], blocks.begin[i + 1]):
            j = blocks.other[e]
            if j < i:
                continue
            if e == blocks.begin[i] or blocks.other[e - 1] != j:
                pairs_of[i].append(len(pairs))
                pairs_of[j].append(len(pairs))
                pairs.append((i, j, []))
            pairs[-1][2].append((blocks.low[e], blocks.high[e]))
    limit = [capped_height if c else height for c in blocks.capped]
    most = [end - size for end, size in zip(limit, blocks.size, strict=True)]
    most = [m - m % a for m, a in zip(most, blocks.align, strict=True)]
    if min(most, default=0) < 0:
        return Verdict.IMPOSSIBLE, [], 0
    s = _Search(
        blocks.align,
        pairs,
        pairs_of,
        [0] * count,
        most,
        [-height] * len(pairs),
        [height] * len(pairs),
        revisions,
        deadline,
    )
    try:
        found = _search(s)
    except _Stopped:
        return Verdict.UNDECIDED, [], revisions
    used = revisions - s.revisions
    return (Verdict.FITS, s.least, used) if found else (Verdict.IMPOSSIBLE, [], used)
