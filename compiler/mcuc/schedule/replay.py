"""The passes of a stream: rows in the order in which their readers need them, and how many must be kept.

In a pass a member computes its next output row if somebody needs that row now and everything that the row needs is
there. What must be kept follows from replaying the passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcuc.ir import Array
from mcuc.schedule.access import Reads
from mcuc.schedule.members import Member

_NEVER = 1 << 40  # more than any row


@dataclass(frozen=True)
class Kept:
    """Rows of a tensor that the passes need at once. most: alive in one pass; beside: the most of them besides the
    one that is being written; live: the passes [lower, upper) from the first row's to the last reader's."""

    most: int
    beside: int
    live: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Rowwise:
    """The replayed passes. rows: for each pass, the rows that each member has when it begins; kept: for each."""

    passes: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]
    kept: tuple[Kept, ...]


def replay(members: Sequence[Member], pushed: tuple[str, int] | None = None) -> Rowwise:
    """The passes that compute every row once, each as late as its readers allow. pushed: name and height."""
    count = len(members)
    producer = {m.output: j for j, m in enumerate(members)}
    heights = [m.height for m in members]
    if pushed is not None:
        producer[pushed[0]] = count
        heights.append(pushed[1])
    order = range(count)
    rows = [0] * len(heights)
    passes, history = [], []
    inside = [[(producer[n], r.last) for n, r in m.inside.items()] for m in members]
    while any(rows[j] < heights[j] for j in order):
        wanted = [0] * len(heights)
        wanting = [False] * len(heights)
        for j in reversed(order):
            if rows[j] < heights[j] and (members[j].sink or rows[j] < wanted[j]):
                wanting[j] = True
                for i, last in inside[j]:
                    wanted[i] = max(wanted[i], last[rows[j]] + 1)
        if not any(wanting):  # what is left are rows that nobody reads
            break
        history.append(tuple(rows))
        mask = 0
        if pushed is not None and rows[count] < min(wanted[count], heights[count]):
            rows[count] += 1
            mask |= 1 << count
        for j in order:
            if wanting[j] and all(last[rows[j]] < rows[i] for i, last in inside[j]):
                rows[j] += 1
                mask |= 1 << j
        assert mask, "a stream that makes no progress"
        passes.append(mask)
    history.append(tuple(rows))
    table = np.array(history, np.int64)
    kept = []
    for name, i in producer.items():
        readers = [(j, m.inside[name]) for j, m in enumerate(members) if name in m.inside]
        kept.append(_kept(i, readers, heights, table))
    return Rowwise(tuple(passes), tuple(history), tuple(kept))


def _kept(i: int, readers: Sequence[tuple[int, Reads]], heights: Sequence[int], table: Array) -> Kept:
    """What is kept of the tensor of row counter i. table: rows of every counter before each pass and after the last."""
    old, new = table[:-1, i], table[1:, i]
    fired = new > old
    used = fired.copy()
    before, after = new.copy(), new.copy()  # the oldest row that is needed when a pass begins, when it ends
    for j, r in readers:
        first = [a if b >= a else _NEVER for a, b in zip(r.first, r.last, strict=True)]
        starts = np.array([*first[: heights[j]], _NEVER], np.int64)
        before = np.minimum(before, starts[table[:-1, j]])
        after = np.minimum(after, starts[table[1:, j]])
        used |= table[1:, j] > table[:-1, j]
    at = np.flatnonzero(used)
    begin = int(np.flatnonzero(fired)[0]) if fired.any() else 0
    most = max(1, int((new - before).max()))
    beside = max(int((new - after).max()), int((np.where(fired, old, new) - before).max()), 0)
    return Kept(most, beside, (begin, int(at[-1]) + 1 if at.size else 1))
