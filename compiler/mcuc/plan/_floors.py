"""Placements by floors: long-lived buffers at the bottom, and what lives beside them split in time.

A network of repeated blocks keeps one tensor from the first to the last (the residual stream of a transformer), beside
which every block is a problem of its own, many of them alike. Where the longest-lived buffer lies at 0 and all of it is
kept free as long as it lives, the others fall apart into groups that share no moment; each is placed above it in the
same way, or by the search for few buffers if that is lower. No bound comes from this, only a placement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mcuc.plan._problem import Buffer, Part, parts

Solve = Callable[[Part], Sequence[int]]  # offsets by index
Key = tuple[tuple[object, ...], ...]
FEW = 48  # buffers that the search places well, and in a short time
DEEPEST = 12  # floors upon each other


def by_floors(part: Part, solve: Solve) -> list[int]:
    """Offsets by index. solve: places a few buffers."""
    capped = frozenset(n for n, c in zip(part.names, part.problem.capped, strict=True) if c)
    found = _placed(part.buffers, capped, solve, {}, 0)
    return [found[name] for name in part.names]


def _placed(
    buffers: Sequence[Buffer], capped: frozenset[str], solve: Solve, known: dict[Key, list[int]], depth: int
) -> dict[str, int]:
    """Offsets by name. known: offsets of buffers that differ from others in name and time alone."""
    ordered = sorted(buffers, key=lambda b: (b.lower, b.upper, b.size, b.id))
    key = _key(ordered, capped)
    if key not in known:
        options = []
        if depth < DEEPEST and len(ordered) > 2:
            options.append(_above_floor(ordered, capped, solve, known, depth))
        if len(ordered) <= FEW or not options:
            options.append(_searched(ordered, capped, solve))
        best = min(options, key=lambda o: _height(ordered, o))
        known[key] = [best[b.id] for b in ordered]
    return {b.id: at for b, at in zip(ordered, known[key], strict=True)}


def _key(buffers: Sequence[Buffer], capped: frozenset[str]) -> Key:
    """The same for buffers that differ in name and time alone."""
    start = buffers[0].lower
    return tuple(
        (b.lower - start, b.upper - start, b.size, b.align, b.id in capped,
         tuple((s.lower - start, s.upper - start, s.start, s.end) for s in b.spans))
        for b in buffers
    )  # fmt: skip


def _above_floor(
    buffers: Sequence[Buffer], capped: frozenset[str], solve: Solve, known: dict[Key, list[int]], depth: int
) -> dict[str, int]:
    longest = max(buffers, key=lambda b: (b.upper - b.lower, b.size, b.id))
    rest = [b for b in buffers if b is not longest]
    found = {longest.id: 0}
    for group in _apart(rest):
        beside = any(b.lower < longest.upper and longest.lower < b.upper for b in group)
        align = max(b.align for b in buffers)
        floor = (longest.size + align - 1) // align * align if beside else 0
        for name, at in _placed(group, capped, solve, known, depth + 1).items():
            found[name] = floor + at
    return found


def _searched(buffers: Sequence[Buffer], capped: frozenset[str], solve: Solve) -> dict[str, int]:
    found = {b.id: 0 for b in buffers}
    for part in parts(buffers, capped):
        found.update(zip(part.names, solve(part), strict=True))
    return found


def _apart(buffers: Sequence[Buffer]) -> list[list[Buffer]]:
    """Groups that share no moment; buffers in the order in which they come alive."""
    groups: list[list[Buffer]] = []
    until = -1
    for b in sorted(buffers, key=lambda b: (b.lower, b.upper, b.id)):
        if not groups or b.lower >= until:
            groups.append([])
        groups[-1].append(b)
        until = max(until, b.upper)
    return groups


def _height(buffers: Sequence[Buffer], offsets: dict[str, int]) -> int:
    return max(offsets[b.id] + b.size for b in buffers)
