"""The shape of a buffer over time: a rectangle, or a staircase where rows come alive and die one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from mcuc.report.types import BufferReport

Rectangle = tuple[int, int, int, int]  # ticks [lower, upper), bytes [start, end)
Chain = list[Rectangle]  # from low to high bytes, each touching the next in bytes and in time


def chains(buffer: BufferReport) -> list[Chain]:
    """What of the buffer is in use, as chains of rectangles; bytes from the buffer's start."""
    if not buffer.spans:
        return [[(buffer.lower, buffer.upper, 0, buffer.size)]]
    found: list[Chain] = []
    growing: list[Chain] = []  # chains whose last rectangle ends where the next strip begins
    for strip in _strips(buffer.spans):
        start = strip[0][2]
        growing = [c for c in growing if c[-1][3] == start]
        following: list[Chain] = []
        for rectangle in strip:
            chain = next((c for c in growing if _meet(c[-1], rectangle)), None)
            if chain is None:
                chain = []
                found.append(chain)
            else:
                growing.remove(chain)
            chain.append(rectangle)
            following.append(chain)
        growing = following
    return found


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _strips(spans: Sequence[Rectangle]) -> list[list[Rectangle]]:
    """Ascending ranges of bytes, each with the intervals of time in which it is in use."""
    used = sorted((s for s in spans if s[0] < s[1] and s[2] < s[3]), key=lambda s: (s[2], s[0]))
    if all(low[3] <= high[2] for low, high in pairwise(used)):
        return [[s] for s in used]
    cuts = sorted({at for s in used for at in s[2:]})
    strips = []
    for start, end in pairwise(cuts):
        strip: list[Rectangle] = []
        for lower, upper, s, e in used:  # sorted by the start of their bytes, so the times need sorting
            if s <= start and end <= e:
                strip.append((lower, upper, start, end))
        if strip:
            strips.append(_merged(sorted(strip)))
    return strips


def _merged(strip: Sequence[Rectangle]) -> list[Rectangle]:
    found: list[Rectangle] = []
    for r in strip:
        if found and r[0] <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], r[1]), *r[2:])
        else:
            found.append(r)
    return found


def path(buffer: BufferReport, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """The outline of the buffer as the data of one SVG path. x: of ticks; y: of addresses in the arena, downwards."""
    parts = []
    for chain in chains(buffer):
        points = [(x(lower), y(buffer.offset + at)) for lower, _, s, e in chain for at in (s, e)]
        points += [(x(upper), y(buffer.offset + at)) for _, upper, s, e in reversed(chain) for at in (e, s)]
        parts.append(_polygon(points))
    return "".join(parts)


def _polygon(points: Sequence[tuple[float, float]]) -> str:
    """Steps along the axes; those too short to see are left out."""
    px, py = f"{points[0][0]:.1f}", f"{points[0][1]:.1f}"
    text = f"M{px} {py}"
    for px_new, py_new in ((f"{a:.1f}", f"{b:.1f}") for a, b in points[1:]):
        if px_new != px:
            text += f"H{px_new}"
        if py_new != py:
            text += f"V{py_new}"
        px, py = px_new, py_new
    return text + "Z"


def widest_box(
    buffer: BufferReport, x: Callable[[float], float], y: Callable[[float], float]
) -> tuple[float, float, float, float]:
    """(left, top, width, height) of the largest rectangle inside the buffer's shape, in pixels: room for its label."""
    best, area = (x(buffer.lower), y(buffer.offset), 0.0, 0.0), -1.0
    for chain in chains(buffer):
        sides = [(x(lower), x(upper), y(buffer.offset + e), y(buffer.offset + s)) for lower, upper, s, e in chain]
        for i, (left, right, _, bottom) in enumerate(sides):
            for other_left, other_right, top, _ in sides[i:]:
                left, right = max(left, other_left), min(right, other_right)
                if right <= left:
                    break
                if (right - left) * (bottom - top) > area:
                    area = (right - left) * (bottom - top)
                    best = (left, top, right - left, bottom - top)
    return best
