"""Buffers, and the independent parts with compressed time that the searches work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import gcd

from mcuc.errors import McucError
from mcuc.plan._exact import Problem, permuted, split


@dataclass(frozen=True)
class Span:
    """Bytes [start, end) of a buffer, in use over the half-open steps [lower, upper)."""

    lower: int
    upper: int
    start: int
    end: int


@dataclass(frozen=True)
class Buffer:
    """`size` bytes, live over the half-open steps [lower, upper), at an offset that is a multiple of `align`.

    spans: what of the buffer is in use when, such as a tensor that grows row by row while it is written and dies row
    by row while it is read; the union of those that are active at a step. Empty: all of it, all the time. The buffer
    stays one rigid block at one offset, and its end counts whether or not it is in use.
    """

    id: str
    lower: int
    upper: int
    size: int
    align: int = 4
    spans: tuple[Span, ...] = ()

    @property
    def extent(self) -> tuple[Span, ...]:
        """The spans that hold something, or the one that is the whole buffer."""
        if self.spans:
            return tuple([s for s in self.spans if s.lower < s.upper and s.start < s.end])
        return (Span(self.lower, self.upper, 0, self.size),)


@dataclass(frozen=True)
class Part:
    """Buffers that share no moment with those of any other part. Heights are multiples of step bytes.

    problem: the buffers as rectangles, whole over their lifetimes. lifetime: their steps, which the sections of the
    problem no longer tell. has_spans: some of them are less than that rectangle.
    """

    names: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    lifetime: tuple[int, ...]
    problem: Problem
    step: int
    bound: int
    capped_bound: int

    @property
    def has_spans(self) -> bool:
        return any(b.spans for b in self.buffers)


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
        for s in b.spans:
            if not (b.lower <= s.lower <= s.upper <= b.upper and 0 <= s.start <= s.end <= b.size):
                found = (
                    f"buffer {b.id!r}: span of steps [{s.lower}, {s.upper}) and bytes [{s.start}, {s.end}) in a buffer "
                    f"of steps [{b.lower}, {b.upper}) and {b.size} bytes"
                )
                raise McucError("invalid-buffer", found, b.id, "spans that lie inside their buffer")


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


def span_load(buffers: Sequence[Buffer], unit: int) -> int:
    """The most bytes in use at one step, as a multiple of unit: no plan can be lower.

    Whole buffers take multiples of unit each; next to a span, which may begin anywhere, only their bytes are certain.
    """
    change: dict[int, int] = {}
    whole_change: dict[int, int] = {}
    for b in buffers:
        for at, more in _changes(b):
            change[at] = change.get(at, 0) + more
        if not b.spans:
            whole = b.size + -b.size % unit
            whole_change[b.lower] = whole_change.get(b.lower, 0) + whole
            whole_change[b.upper] = whole_change.get(b.upper, 0) - whole
    highest = used = whole = 0
    for at in sorted(change):
        used, whole = used + change[at], whole + whole_change.get(at, 0)
        highest = max(highest, used + -used % unit, whole)
    return highest


def _changes(b: Buffer) -> tuple[tuple[int, int], ...]:
    """Steps at which the bytes in use of a buffer change, and by how much."""
    by_byte = sorted([(s.start, s.end, s.lower, s.upper) for s in b.extent])
    if all(low[1] <= high[0] for low, high in pairwise(by_byte)):  # as rows are: no byte is in two of them
        begun = [(lower, end - start) for start, end, lower, _ in by_byte]
        return (*begun, *((upper, start - end) for start, end, _, upper in by_byte))
    changes = []
    before = 0
    for step in sorted({at for _, _, lower, upper in by_byte for at in (lower, upper)}):
        used = reach = 0
        for start, end, lower, upper in by_byte:
            if lower <= step < upper:
                used += max(0, end - max(start, reach))
                reach = max(reach, end)
        changes.append((step, used - before))
        before = used
    return tuple(changes)


def _bounds(buffers: Sequence[Buffer], problem: Problem, unit: int) -> tuple[int, int]:
    """The bounds on the peak, and on the end of the capped buffers."""
    if not any(b.spans for b in buffers):
        return section_load(problem), section_load(problem, only_capped=True)
    bounds = []
    for chosen in (buffers, [b for b, capped in zip(buffers, problem.capped, strict=True) if capped]):
        longest = max((b.size for b in chosen), default=0)
        bounds.append(max(span_load(chosen, unit), longest + -longest % unit) if chosen else 0)
    return bounds[0], bounds[1]


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
        members = tuple(used[i] for i in group)
        if any(b.spans for b in members):
            step = unit  # offsets between two spans need not be sums of sizes
        found.append(Part(names, members, lifetime, problem, step, *_bounds(members, problem, unit)))
    return sorted(found, key=lambda part: (-part.bound, part.names))
