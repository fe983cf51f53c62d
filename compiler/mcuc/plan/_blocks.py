"""Rigid blocks whose shapes may reach into each other: what remains of buffers with spans once time is dealt with.

Two blocks collide for some differences of their offsets and for no others: every pair of spans that share a step rules
out one open interval. These clearances are all that a placement has to keep; time does not occur in them.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.plan._problem import Part


@dataclass(frozen=True)
class Blocks:
    """Blocks by index, in bytes. All arrays are of 64-bit integers, so that the compiled search reads them in place.

    The clearances of block i are the entries begin[i] <= e < begin[i + 1]: while block other[e] lies at 0, block i does
    not lie at low[e] < offset < high[e]. They are sorted by other and low; those of one pair do not overlap.
    """

    size: array[int]
    align: array[int]
    capped: array[int]
    begin: array[int]
    other: array[int]
    low: array[int]
    high: array[int]

    @property
    def count(self) -> int:
        return len(self.size)


def spans_of(part: Part) -> tuple[array[int], array[int]]:
    """Per block the range of its spans, and the spans as (lower, upper, start, end), by rising lower."""
    begin, flat = array("q", [0]), array("q")
    for b in part.buffers:
        for s in sorted((s.lower, s.upper, s.start, s.end) for s in b.extent):
            flat.extend(s)
        begin.append(len(flat) // 4)
    return begin, flat


def joined(intervals: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Open intervals, ascending, joined where they overlap; a point between two that only touch stays free."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(intervals):
        if found and low < found[-1][1]:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def clearances(begin: Sequence[int], spans: Sequence[int], unit: int) -> array[int]:
    """Per pair i < j the intervals (i, j, low, high) of offset i - offset j; all offsets are multiples of unit."""
    count = len(begin) - 1
    shapes = [[tuple(spans[4 * s : 4 * s + 4]) for s in range(begin[i], begin[i + 1])] for i in range(count)]
    found = array("q")
    for i in range(count):
        for j in range(i + 1, count):
            ruled_out = []
            for lower, upper, start, end in shapes[i]:
                for other_lower, other_upper, other_start, other_end in shapes[j]:
                    if other_lower >= upper:
                        break
                    if lower < other_upper:
                        low, high = other_start - end, other_end - start
                        ruled_out.append((low - low % unit, high + -high % unit))
            for low, high in joined(ruled_out):
                found.extend((i, j, low, high))
    return found


def blocks(part: Part, pairs: Sequence[int]) -> Blocks:
    """The part as blocks, given its clearances."""
    count = part.problem.count
    degree = [0] * (count + 1)
    for at in range(0, len(pairs), 4):
        degree[pairs[at]] += 1
        degree[pairs[at + 1]] += 1
    begin = array("q", [0])
    for d in degree[:count]:
        begin.append(begin[-1] + d)
    entries = begin[-1]
    other, low, high = (array("q", bytes(8 * entries)) for _ in range(3))
    cursor = list(begin)
    # Pairs come by i, j, low: first the partners below each block, by index, then those above it.
    for mirrored in (True, False):
        for at in range(0, len(pairs), 4):
            i, j, lowest, highest = pairs[at : at + 4]
            if mirrored:
                i, j, lowest, highest = j, i, -highest, -lowest
            e = cursor[i]
            other[e], low[e], high[e] = j, lowest, highest
            cursor[i] += 1
    return Blocks(
        array("q", part.problem.size),
        array("q", part.problem.align),
        array("q", part.problem.capped),
        begin,
        other,
        low,
        high,
    )
