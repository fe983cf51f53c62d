"""The columns that the members of a stream keep of the row in work, when they advance a few columns at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mcuc.kernels._base import Columns
from mcuc.schedule.access import Reads
from mcuc.schedule.members import Member
from mcuc.schedule.replay import Rowwise
from mcuc.schedule.strips import Strips


def usual_windows(
    members: Sequence[Member],
    steps: Sequence[int],
    readers: Mapping[str, Sequence[tuple[int, Reads]]],
    widths: Mapping[str, int],
) -> dict[str, int]:
    """Windows where every reader follows its producer at once: one step, and what a reader's window still needs.
    widths: columns of each tensor's line."""
    found = {}
    for j, m in enumerate(members):
        width = widths[m.output]
        behind = [
            width if r.columns is None else _behind(r.columns, steps[k], steps[j], members[k].together)
            for k, r in readers[m.output]
        ]
        found[m.output] = max(1, min(width, steps[j] + max([0, *behind])))
    return found


def _behind(columns: Columns, step: int, produced: int, together: int) -> int:
    """Columns besides those just produced that a reader of `step` columns may still need."""
    window = columns.taps - columns.stride
    return max(window + step * columns.stride - produced, window + together * columns.stride - 1 if together > 1 else 0)


@dataclass(frozen=True)
class _Shape:
    """What a member's columns depend on. reads: (index of the member that computes it, columns) of each tensor of the
    stream, -1 for the pushed input."""

    together: int
    sink: bool
    reads: tuple[tuple[int, Columns | None], ...]


def windows_of(
    members: Sequence[Member],
    played: Rowwise,
    steps: Sequence[int],
    readers: Mapping[str, Sequence[tuple[int, Reads]]],
    strips: Strips,
) -> dict[str, int]:
    """Tensor -> columns of its row in work that are in the window at once, over all passes and strips."""
    producer = {m.output: j for j, m in enumerate(members)}
    parts = strips or (tuple((0, m.width) for m in members),)
    most = dict.fromkeys(readers, 1)
    shapes = tuple(
        _Shape(m.together, m.sink, tuple((producer.get(n, -1), r.columns) for n, r in m.inside.items()))
        for m in members
    )
    seen: set[tuple[int, tuple[bool, ...]]] = set()
    for p, mask in enumerate(played.passes):
        old = played.rows[p]
        firing = [bool(mask >> j & 1) for j in range(len(members))]
        current = tuple(
            firing[j] and n in producer and firing[producer[n]] and r.last[old[j]] == old[producer[n]]
            for j, m in enumerate(members)
            for n, r in m.inside.items()
        )
        if (mask, current) in seen:
            continue
        seen.add((mask, current))
        for part in parts:
            for m, columns in zip(members, _advance(shapes, mask, current, tuple(steps), part), strict=True):
                if columns >= 0:
                    most[m.output] = max(most[m.output], columns)
    return most


@lru_cache(maxsize=1 << 16)
def _advance(
    shapes: tuple[_Shape, ...],
    mask: int,
    current: tuple[bool, ...],
    steps: tuple[int, ...],
    part: tuple[tuple[int, int], ...],
) -> tuple[int, ...]:
    """One pass column by column, as the generated loop does it: the most columns in each member's window, -1 where it
    has none. part: the columns [begin, end) of each member. Remembered, because heads and blocks are alike."""
    row = _Row(shapes, mask, current, steps, part)
    most = [0 if j in row.kept else -1 for j in range(len(shapes))]
    while any(row.x[j] < row.ends[j] for j in row.firing):
        row.round(most)
        row.skip()
    return tuple(most)


class _Row:
    """A pass in the making: x, the columns that each member has computed, and first, the first that is in its window.
    """

    def __init__(
        self,
        shapes: tuple[_Shape, ...],
        mask: int,
        current: tuple[bool, ...],
        steps: tuple[int, ...],
        part: tuple[tuple[int, int], ...],
    ) -> None:
        self.shapes, self.steps = shapes, steps
        self.firing = [j for j in range(len(shapes)) if mask >> j & 1]
        flags = iter(current)
        self.waits = [[(i, columns) for i, columns in m.reads if next(flags)] for m in shapes]
        self.readers: list[list[tuple[int, Columns | None]]] = [[] for _ in shapes]
        for j in self.firing:
            for i, columns in shapes[j].reads:
                if i >= 0:
                    self.readers[i].append((j, columns))
        self.x, self.first = [begin for begin, _ in part], [begin for begin, _ in part]
        self.ends = [end for _, end in part]
        self.kept = [j for j in self.firing if not shapes[j].sink]
        self.alike = all(columns is None or columns.stride == 1 for m in shapes for _, columns in m.reads)
        self.before = (*self.x, *self.first)
        self.met: dict[tuple[tuple[bool, int], ...], int] = {}  # where all are -> the first that moves

    def round(self, most: list[int]) -> None:
        """Every member goes on by its step, or as far as what it waits for allows."""
        x, first, ends = self.x, self.first, self.ends
        self.before = (*x, *first)
        for j in self.firing:
            reach = ends[j]
            for i, read in self.waits[j]:
                reach = min(reach, reachable(x[i], ends[i], read, ends[j]))
            x[j] = advanced(x[j], min(reach, x[j] + self.steps[j]), ends[j], self.shapes[j].together)
            if most[j] >= 0:
                most[j] = max(most[j], x[j] - first[j])
        for i in self.kept:
            free = x[i]
            for j, read in self.readers[i]:
                free = min(free, freed(x[j], ends[j], read, ends[i]))
            first[i] = max(first[i], free)

    def skip(self) -> None:
        """Goes on over rounds that are like some before. What a round does depends, away from the rows' ends, on where
        those that move are against each other; once they are as they were, all goes on as it did since, until one
        comes near its row's end. Those that stand must do so until then."""
        now = (*self.x, *self.first)
        moving = [a != b for a, b in zip(now, self.before, strict=True)]
        if not self.alike or not any(moving):
            return
        base = now[moving.index(True)]
        key = tuple((m, v - base if m else v) for m, v in zip(moving, now, strict=True))
        by, count = base - self.met.get(key, base), len(self.x)
        self.met[key] = base
        if not by or not any(moving[:count]) or not self._rest_stands(moving):
            return
        margin = 2 * by + 2 * max(self.steps)
        rounds = min((self.ends[j] - self.x[j] - margin) // by for j in range(count) if moving[j])
        if rounds > 0:
            self.x = [v + by * rounds * m for v, m in zip(self.x, moving[:count], strict=True)]
            self.first = [v + by * rounds * m for v, m in zip(self.first, moving[count:], strict=True)]
            self.met.clear()

    def _rest_stands(self, moving: Sequence[bool]) -> bool:
        """Whether what does not move waits for whole rows, or for what stands itself, or is through."""
        x, ends, count = self.x, self.ends, len(self.x)
        stands: set[int] = set()
        for j in self.firing:
            if moving[j]:
                continue
            waits = [reachable(x[i], ends[i], c, ends[j]) for i, c in self.waits[j] if c is None or i in stands]
            still = waits and advanced(x[j], min(waits), ends[j], self.shapes[j].together) <= x[j]
            if x[j] < ends[j] and not still:
                return False
            stands.add(j)
        for i in self.kept:
            free = [freed(x[j], ends[j], c, ends[i]) for j, c in self.readers[i] if c is None or j in stands]
            free += [x[i]] if i in stands else []
            if not moving[count + i] and self.first[i] < ends[i] and min(free, default=ends[i]) > self.first[i]:
                return False
        return True


def advanced(x: int, reach: int, end: int, together: int) -> int:
    """Where a member gets from column x that could get to `reach`: by columns that are computed together, and to the
    row's end."""
    return reach if reach >= end else x + max(0, reach - x) // together * together


def reachable(available: int, width: int, columns: Columns | None, out_width: int) -> int:
    """Output columns that can be computed when `available` of the input row's `width` columns are there. In a strip,
    all four count from the image's column 0, and the widths are where the strip's columns end."""
    if available >= width:
        return out_width
    if columns is None:
        return 0
    return max(0, min(out_width, (available + columns.pad - columns.taps) // columns.stride + 1))


def freed(done: int, out_width: int, columns: Columns | None, width: int) -> int:
    """Input columns that a reader needs no more once `done` of its output columns are computed."""
    if done >= out_width:
        return width
    if columns is None:
        return 0
    return max(0, min(width, done * columns.stride - columns.pad))
