"""The columns that the members of a stream keep of the row in work, when they advance a few columns at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcuc.ir import Graph
from mcuc.kernels._base import Columns
from mcuc.schedule.access import Reads, grid
from mcuc.schedule.members import Member
from mcuc.schedule.replay import Rowwise


def usual_windows(
    members: Sequence[Member],
    steps: Sequence[int],
    readers: Mapping[str, Sequence[tuple[int, Reads]]],
    graph: Graph,
) -> dict[str, int]:
    """Windows where every reader follows its producer at once: one step, and what a reader's window still needs."""
    found = {}
    for j, m in enumerate(members):
        width = grid(graph, m.output).width
        behind = [
            width if r.columns is None else r.columns.taps - r.columns.stride + steps[k] * r.columns.stride - steps[j]
            for k, r in readers[m.output]
        ]
        found[m.output] = max(1, min(width, steps[j] + max([0, *behind])))
    return found


def windows_of(
    members: Sequence[Member],
    played: Rowwise,
    steps: Sequence[int],
    readers: Mapping[str, Sequence[tuple[int, Reads]]],
    graph: Graph,
) -> dict[str, int]:
    """Tensor -> columns of its row in work that are in the window at once, over all passes."""
    producer = {m.output: j for j, m in enumerate(members)}
    widths = {name: grid(graph, name).width for name in readers}
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
        for name, columns in _advance(members, mask, current, steps, readers, widths, producer).items():
            most[name] = max(most[name], columns)
    return most


def _advance(
    members: Sequence[Member],
    mask: int,
    current: Sequence[bool],
    steps: Sequence[int],
    readers: Mapping[str, Sequence[tuple[int, Reads]]],
    widths: Mapping[str, int],
    producer: Mapping[str, int],
) -> dict[str, int]:
    """One pass column by column, as the generated loop does it: the most columns in each window."""
    firing = [j for j in range(len(members)) if mask >> j & 1]
    flags = iter(current)
    waits: list[list[tuple[int, Columns | None, int]]] = []
    for m in members:
        waits.append([(producer[n], r.columns, widths[n]) for n, r in m.inside.items() if next(flags)])
    x = [0] * len(members)
    first = {members[j].output: 0 for j in firing if not members[j].sink}
    most = dict.fromkeys(first, 0)
    while any(x[j] < members[j].width for j in firing):
        for j in firing:
            reach = members[j].width
            for i, columns, width in waits[j]:
                reach = min(reach, reachable(x[i], width, columns, members[j].width))
            x[j] = max(x[j], min(reach, x[j] + steps[j]))
            name = members[j].output
            if name in first:
                most[name] = max(most[name], x[j] - first[name])
        for name in first:
            free = x[producer[name]]
            for j, r in readers[name]:
                if mask >> j & 1:
                    free = min(free, freed(x[j], members[j].width, r.columns, widths[name]))
            first[name] = max(first[name], free)
    return most


def reachable(available: int, width: int, columns: Columns | None, out_width: int) -> int:
    """Output columns that can be computed when `available` of the input row's `width` columns are there."""
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
