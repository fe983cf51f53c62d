"""The time axis of the memory map: ticks to pixels, so that every layer and every stream gets a readable width."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from mcuc.report.types import Report, SegmentReport

_LEAST, _PER_ROOT, _PER_LAYER, _LEAST_STREAM = 9.0, 2.4, 8.0, 142.0  # pixels
_MOST_STEPS = 1000  # of a report without segments; beyond, its steps are drawn to scale


@dataclass(frozen=True)
class Timeline:
    """Ticks to pixels, linear within each segment. knots: the segments' bounds in ticks, ascending; at: where."""

    knots: tuple[int, ...]
    at: tuple[float, ...]

    def __call__(self, tick: float) -> float:
        i = min(max(bisect_right(self.knots, tick) - 1, 0), len(self.knots) - 2)
        low, high = self.knots[i], self.knots[i + 1]
        return self.at[i] + (self.at[i + 1] - self.at[i]) * (tick - low) / (high - low)


def segments_of(report: Report) -> tuple[SegmentReport, ...]:
    """The report's segments, followed by one without a name where buffers live longer; never empty.

    In reports without segments a step is a layer.
    """
    end = max((b.upper for b in report.memory_map), default=1)
    known = report.segments
    if not known and end <= _MOST_STEPS:
        names = [x.name for x in report.layers] if end <= len(report.layers) else [""] * end
        return tuple(SegmentReport(names[i], "layer", i, i + 1, 1, 0) for i in range(end))
    last = known[-1].upper if known else 0
    return (*known, SegmentReport("", "layer", last, end, 1, 0)) if end > last else known


def natural_width(segment: SegmentReport) -> float:
    """Pixels that make a segment readable: with the root of its ticks, since a stream may have a thousand; a stream
    wider by its layers, each of which may have a buffer in it."""
    width = _LEAST + _PER_ROOT * sqrt(min(segment.upper - segment.lower, 10_000))
    return max(width + _PER_LAYER * segment.layers, _LEAST_STREAM) if segment.kind == "stream" else width


def timeline(segments: Sequence[SegmentReport], left: float, least: float, most: float) -> Timeline:
    """The axis from the pixel `left`, at least and at most so many pixels wide."""
    widths = [natural_width(s) for s in segments]
    total = sum(widths)
    scale = min(max(total, least), most) / total
    at = [left]
    for width in widths:
        at.append(at[-1] + scale * width)
    return Timeline((segments[0].lower, *(s.upper for s in segments)), tuple(at))


def segment_at(segments: Sequence[SegmentReport], tick: int) -> int:
    """The index of the segment that a tick lies in."""
    return min(max(bisect_right([s.lower for s in segments], tick) - 1, 0), len(segments) - 1)
