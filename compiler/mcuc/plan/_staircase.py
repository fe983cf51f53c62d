"""Placements of buffers of which only spans are in use: rigid blocks whose shapes may reach into each other.

Two blocks collide for some differences of their offsets and for no others: every pair of spans that shares a step rules
out one open interval. These intervals are all that the search needs; time does not occur in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.plan._problem import Part, orders


@dataclass(frozen=True)
class Clearance:
    """Offsets in bytes that buffer i cannot have once `other` lies at 0: low < offset of i < high."""

    other: int
    low: int
    high: int


@dataclass(frozen=True)
class Blocks:
    """Rigid blocks by index. forbidden[i]: the clearances of i, by other and then low; no two of a pair overlap."""

    size: tuple[int, ...]
    align: tuple[int, ...]
    capped: tuple[bool, ...]
    forbidden: tuple[tuple[Clearance, ...], ...]

    @property
    def count(self) -> int:
        return len(self.size)


def merged(intervals: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Open intervals, ascending, joined where they overlap; a point between two that only touch stays free."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(intervals):
        if joined and low < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


def blocks(part: Part, unit: int) -> Blocks:
    """The pairwise clearances of a part's buffers. Offsets are multiples of unit, so intervals round outward."""
    members = part.buffers
    forbidden: list[list[Clearance]] = [[] for _ in members]
    extents = [sorted(b.extent, key=lambda s: (s.lower, s.start)) for b in members]
    for j, b in enumerate(members):
        for i in range(j):
            if members[i].lower >= b.upper or b.lower >= members[i].upper:
                continue
            ruled_out = []
            for mine in extents[i]:
                for theirs in extents[j]:
                    if mine.lower < theirs.upper and theirs.lower < mine.upper:
                        low, high = theirs.start - mine.end, theirs.end - mine.start
                        ruled_out.append((low - low % unit, high + -high % unit))
            for low, high in merged(ruled_out):
                forbidden[i].append(Clearance(j, low, high))
                forbidden[j].append(Clearance(i, -high, -low))
    return Blocks(
        part.problem.size,
        part.problem.align,
        part.problem.capped,
        tuple(tuple(sorted(f, key=lambda c: (c.other, c.low))) for f in forbidden),
    )


def drop(found: Blocks, order: Sequence[int]) -> list[int]:
    """Offsets in bytes by index: each block in turn at the lowest offset that is free for it."""
    offsets = [-1] * found.count
    for i in order:
        ruled_out = sorted(
            (offsets[c.other] + c.low, offsets[c.other] + c.high) for c in found.forbidden[i] if offsets[c.other] >= 0
        )
        align, offset = found.align[i], 0
        for low, high in ruled_out:
            if low >= offset:
                break
            if high > offset:
                offset = high + -high % align
        offsets[i] = offset
    return offsets


def place_blocks(part: Part, unit: int) -> list[list[int]]:
    """Candidate placements."""
    found = blocks(part, unit)
    return [drop(found, order) for order in orders(part.problem)]
