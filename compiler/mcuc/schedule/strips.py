"""Strips: a stream whose image is cut into columns, each strip computed from top to bottom with narrower lines.

What a strip's last tensors need of the tensors before them overlaps with what the next strip needs (the halo), and is
computed again. The columns are found backwards from equal cuts of the last tensors, as patches are in patch-based
inference (Lin et al., MCUNetV2, 2021, section 3), but without patches of rows: rows stay in line buffers.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcuc.kernels._base import Columns
from mcuc.schedule.members import Member

Strips = tuple[tuple[tuple[int, int], ...], ...]  # for each strip and member the columns [begin, end) it computes


def strips_of(members: Sequence[Member], count: int) -> Strips | None:
    """The members' columns in `count` strips; sinks are cut equally, so that each of their columns is in one strip.

    None where a stream cannot be cut: a sink has fewer columns or is read inside the stream, a member reads columns
    that are not known, or would have nothing to compute in a strip.
    """
    read = {name for m in members for name in m.inside}
    sinks = [m for m in members if m.sink]
    if any(m.output in read or m.width < count for m in sinks):
        return None
    if any(r.columns is None for m in members for r in m.inside.values()):
        return None
    found = []
    for k in range(count):
        strip = _backwards(members, k, count)
        if strip is None:
            return None
        found.append(strip)
    return tuple(found)


def _backwards(members: Sequence[Member], k: int, count: int) -> tuple[tuple[int, int], ...] | None:
    needed: dict[str, tuple[int, int]] = {}
    parts: list[tuple[int, int]] = []
    for m in reversed(members):
        cut = (k * m.width // count, (k + 1) * m.width // count)
        part = cut if m.sink else _inside(needed.get(m.output, (0, 0)), m.width)
        if part[0] >= part[1]:
            return None
        parts.append(part)
        for name, r in m.inside.items():
            assert r.columns is not None
            begin, end = read_by(part, r.columns)
            old = needed.get(name, (begin, end))
            needed[name] = (min(old[0], begin), max(old[1], end))
    return tuple(reversed(parts))


def _inside(part: tuple[int, int], width: int) -> tuple[int, int]:
    return max(0, part[0]), min(width, part[1])


def read_by(part: tuple[int, int], columns: Columns) -> tuple[int, int]:
    """Input columns [begin, end), padding included, that output columns `part` read."""
    begin, end = part
    return begin * columns.stride - columns.pad, (end - 1) * columns.stride - columns.pad + columns.taps


def recomputed_macs(members: Sequence[Member], rows: Sequence[int], strips: Strips) -> int:
    """MACs of the pixels that more than one strip computes, each time but the first. rows: that each member computes
    in a strip."""
    total = 0
    for j, m in enumerate(members):
        parts = sorted(strip[j] for strip in strips)
        again, reached = 0, 0
        for begin, end in parts:
            again += max(0, min(end, reached) - begin)
            reached = max(reached, end)
        total += m.layer.macs * again * rows[j] // (m.width * m.height)
    return total


def computed_columns(members: Sequence[Member], strips: Strips) -> list[int]:
    """Columns of a row that each member computes over all strips, those counted again that are computed again."""
    if not strips:
        return [m.width for m in members]
    return [sum(strip[j][1] - strip[j][0] for strip in strips) for j in range(len(members))]


def widest(strips: Strips, j: int) -> int:
    """Columns of member j in its widest strip."""
    return max(strip[j][1] - strip[j][0] for strip in strips)


def live_in_strips(live: tuple[int, int], passes: int, strips: Strips) -> tuple[int, int]:
    """The ticks of a line that is in use in passes [lower, upper) of every strip: from the first strip to the last."""
    return live[0], (len(strips) - 1) * passes + live[1]
