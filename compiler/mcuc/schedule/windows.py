"""The columns that the members of a stream keep of the row in work, when they advance a few columns at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
            for name, columns in _advance(members, mask, current, steps, readers, part, producer).items():
                most[name] = max(most[name], columns)
    return most


def _advance(
    members: Sequence[Member],
    mask: int,
    current: Sequence[bool],
    steps: Sequence[int],
    readers: Mapping[str, Sequence[tuple[int, Reads]]],
    part: Sequence[tuple[int, int]],
    producer: Mapping[str, int],
) -> dict[str, int]:
    """One pass column by column, as the generated loop does it: the most columns in each window. part: the columns
    [begin, end) of each member."""
    firing = [j for j in range(len(members)) if mask >> j & 1]
    flags = iter(current)
    waits = [[(producer[n], r.columns) for n, r in m.inside.items() if next(flags)] for m in members]
    x = [begin for begin, _ in part]
    ends = [end for _, end in part]
    first = {members[j].output: x[j] for j in firing if not members[j].sink}
    most = dict.fromkeys(first, 0)
    while any(x[j] < ends[j] for j in firing):
        for j in firing:
            reach = ends[j]
            for i, columns in waits[j]:
                reach = min(reach, reachable(x[i], ends[i], columns, ends[j]))
            x[j] = advanced(x[j], min(reach, x[j] + steps[j]), ends[j], members[j].together)
            name = members[j].output
            if name in first:
                most[name] = max(most[name], x[j] - first[name])
        for name in first:
            free = x[producer[name]]
            for j, r in readers[name]:
                if mask >> j & 1:
                    free = min(free, freed(x[j], ends[j], r.columns, ends[producer[name]]))
            first[name] = max(first[name], free)
    return most


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
