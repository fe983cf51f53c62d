"""From buffers to the compressed problems that the heuristics and the exact search work on."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import gcd

from mcuc.errors import McucError
from mcuc.plan._exact import Problem, permuted, split


@dataclass(frozen=True)
class Buffer:
    """`size` bytes, live over the half-open steps [lower, upper), at an offset that is a multiple of `align`."""

    id: str
    lower: int
    upper: int
    size: int
    align: int = 4


@dataclass(frozen=True)
class Part:
    """Buffers that share no moment with those of any other part. Heights are multiples of step bytes.

    lifetime: the buffers' steps, which the sections of the problem no longer tell.
    """

    names: tuple[str, ...]
    lifetime: tuple[int, ...]
    problem: Problem
    step: int
    bound: int
    capped_bound: int


def check(buffers: Sequence[Buffer]) -> None:
    seen: set[str] = set()
    for b in buffers:
        if b.id in seen:
            raise McucError(
                "invalid-buffer", f"two buffers share the name {b.id!r}", b.id, "give each buffer its own name"
            )
        seen.add(b.id)
        if b.size < 0 or b.lower > b.upper or b.align < 1:
            found = f"buffer {b.id!r}: size {b.size}, lifetime [{b.lower}, {b.upper}), alignment {b.align}"
            raise McucError("invalid-buffer", found, b.id, "sizes from 0, lower <= upper, alignments from 1")


def granule(buffers: Sequence[Buffer]) -> int:
    """Every offset is a multiple of this many bytes, so every buffer takes a multiple of it."""
    return gcd(*(b.align for b in buffers)) or 1


def _compress(intervals: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Steps to sections: only the moments where a start is followed by an end hold a maximal set of live buffers."""
    events = sorted([(upper, 0) for _, upper in intervals] + [(lower, 1) for lower, _ in intervals])
    moments = [at for (at, kind), (_, following) in pairwise(events) if kind == 1 and following == 0]
    compressed = []
    for lower, upper in intervals:
        inside = [k for k, at in enumerate(moments) if lower <= at < upper]
        compressed.append((inside[0], inside[-1] + 1))
    return compressed


def section_load(problem: Problem, only_capped: bool = False) -> int:
    """The most bytes that are live in one section."""
    change = [0] * (problem.sections + 1)
    for first, end, size, capped in zip(problem.first, problem.end, problem.size, problem.capped, strict=True):
        if capped or not only_capped:
            change[first] += size
            change[end] -= size
    highest = total = 0
    for delta in change:
        total += delta
        highest = max(highest, total)
    return highest


def parts(buffers: Sequence[Buffer], capped: frozenset[str] = frozenset()) -> list[Part]:
    """The independent parts, the one with the highest bound first. Buffers of no bytes or no lifetime are in none."""
    used = sorted((b for b in buffers if b.size > 0 and b.lower < b.upper), key=lambda b: (b.lower, b.upper, b.id))
    if not used:
        return []
    unit = granule(buffers)
    sizes = [b.size + -b.size % unit for b in used]
    intervals = _compress([(b.lower, b.upper) for b in used])
    whole = Problem(
        tuple(first for first, _ in intervals),
        tuple(end for _, end in intervals),
        tuple(sizes),
        tuple(b.align for b in used),
        tuple(b.id in capped for b in used),
    )
    found = []
    for group in split(whole, range(whole.count)):
        problem = permuted(whole, group)
        begin = min(problem.first)
        problem = replace(
            problem, first=tuple(k - begin for k in problem.first), end=tuple(k - begin for k in problem.end)
        )
        step = gcd(*problem.size)
        if any(step % a for a in problem.align):
            step = gcd(step, *problem.align)
        names = tuple(used[i].id for i in group)
        lifetime = tuple(used[i].upper - used[i].lower for i in group)
        found.append(
            Part(names, lifetime, problem, step, section_load(problem), section_load(problem, only_capped=True))
        )
    return sorted(found, key=lambda part: (-part.bound, part.names))


Key = Callable[[int], tuple[int, ...]]


def _crowds(problem: Problem) -> list[int]:
    """For each buffer, the most bytes that are live together with it, its own included."""
    load = [0] * problem.sections
    for first, end, size in zip(problem.first, problem.end, problem.size, strict=True):
        for k in range(first, end):
            load[k] += size
    return [max(load[first:end]) for first, end in zip(problem.first, problem.end, strict=True)]


def _ranked(count: int, keys: Sequence[Key]) -> list[list[int]]:
    """For each key, the indices by rising key; ties by index."""
    ranked = []
    for key in keys:
        values = [(*key(i), i) for i in range(count)]
        ranked.append([value[-1] for value in sorted(values)])
    return ranked


def orders(problem: Problem) -> list[list[int]]:
    """Orders for the greedy placements: by falling size, area, lifetime, crowd, and by time."""
    size, first, end = problem.size, problem.first, problem.end
    crowd = _crowds(problem)
    keys: list[Key] = [
        lambda i: (-size[i], first[i] - end[i]),
        lambda i: (-size[i] * (end[i] - first[i]), -size[i]),
        lambda i: (first[i] - end[i], -size[i]),
        lambda i: (-crowd[i], -size[i]),
        lambda i: (-crowd[i], first[i] - end[i], -size[i]),
        lambda i: (first[i], -size[i]),
        lambda i: (-end[i], -size[i]),
        lambda i: (-crowd[i], -size[i] * (end[i] - first[i])),
    ]
    return _ranked(problem.count, keys)


def search_orders(part: Part) -> list[list[int]]:
    """Preferences for the exact search, chosen by trial: no single one is good on all hard problems."""
    problem, lifetime = part.problem, part.lifetime
    size, first, end = problem.size, problem.first, problem.end
    crowd = _crowds(problem)
    keys: list[Key] = [
        lambda i: (-crowd[i], -lifetime[i]),
        lambda i: (first[i],),
        lambda i: (-lifetime[i],),
        lambda i: (-crowd[i], first[i] - end[i], -size[i] * (end[i] - first[i])),
        lambda i: (-size[i] * (end[i] - first[i]),),
    ]
    return _ranked(problem.count, keys)


def fit(problem: Problem, order: Sequence[int], tightest: bool) -> list[int]:
    """Offsets in bytes by index: each buffer in turn into the lowest gap that takes it, or into the tightest one."""
    offsets = [0] * problem.count
    placed: list[tuple[int, int, int]] = []  # (offset, end, index), ascending
    first, end = problem.first, problem.end
    for i in order:
        size, align, begin, stop = problem.size[i], problem.align[i], first[i], end[i]
        cursor = 0
        chosen, slack = -1, 0
        for offset, top, j in placed:
            if first[j] >= stop or begin >= end[j]:
                continue
            room = offset - cursor - size
            if room >= 0 and (chosen < 0 or room < slack):
                chosen, slack = cursor, room
                if not tightest:
                    break
            if top > cursor:
                cursor = top + -top % align
        offsets[i] = cursor if chosen < 0 else chosen
        insort(placed, (offsets[i], offsets[i] + size, i))
    return offsets
