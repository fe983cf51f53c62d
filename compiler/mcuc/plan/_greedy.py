"""Orders in which to put buffers down, for the greedy placements and as preferences of the exact search."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence

from mcuc.plan._exact import Problem
from mcuc.plan._local import Random
from mcuc.plan._problem import Part

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


def search_orders(part: Part, attempt: int) -> list[list[int]]:
    """Preferences for the exact search, chosen by trial: no single one is good on all hard problems.

    From the second attempt on they are shuffled a little, so that a search that went astray early starts afresh.
    """
    problem, lifetime = part.problem, part.lifetime
    size, first, end = problem.size, problem.first, problem.end
    values: list[Callable[[int], int]] = [
        lambda i: -lifetime[i],
        lambda i: first[i],
        lambda i: -size[i],
        lambda i: -size[i] * lifetime[i],
        lambda i: -end[i],
    ]
    noise = Random(attempt)
    found = []
    for value in values:
        shaken = [value(i) * (1024 + (noise.below(52) if attempt else 0)) for i in range(problem.count)]
        found.append(sorted(range(problem.count), key=shaken.__getitem__))
    return found


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
