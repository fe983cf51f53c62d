"""The memory map over time as SVG: time from left to right, addresses upwards, one shape a buffer.

A rectangle is a buffer that is in use as a whole; a staircase one whose rows come alive and die one after the other.
Every layer and every stream has a readable width (timeline.py); streams are shaded and bracketed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mcuc.report import outline, palette, svg, words
from mcuc.report.labels import label, short_names
from mcuc.report.timeline import Timeline, segment_at, segments_of, timeline
from mcuc.report.types import BufferReport, Report, SegmentReport

_LEFT, _TOP = 70, 34
_NARROW, _WIDE = 920, 2600  # pixels of the time axis, at least and at most
_LOW, _HIGH = 354, 560  # pixels of the address axis; the larger one for maps of many buffers
_UNDER = 66  # pixels below it: layer numbers, brackets of the streams, the axis' name
_MANY = 60
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif'


@dataclass(frozen=True)
class _Frame:
    """Where things are. x: of ticks; y: of addresses in the arena, in several arenas one above the other; starts: of
    each region's arena on that axis."""

    x: Timeline
    y: svg.Scale
    bottom: float
    segments: tuple[SegmentReport, ...]
    starts: Mapping[str, int]

    @property
    def right(self) -> float:
        return self.x.at[-1]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return round(self.right) + 10, round(self.bottom) + _UNDER

    @property
    def middle(self) -> float:
        """Of the part that shows without scrolling."""
        return (_LEFT + min(self.right, _LEFT + _NARROW)) / 2

    @property
    def highest(self) -> float:
        """The address at the upper edge."""
        return (self.bottom - _TOP) / (self.y(0) - self.y(1))


def kinds(report: Report) -> list[tuple[str, int]]:
    """The kinds in the map with the number of their colour: fixed for the usual ones, one for all others."""
    found = {b.kind for b in report.memory_map}
    return sorted(((k, palette.colour_of(k)) for k in found), key=lambda k: (k[1], k[0]))


def arena_budget(report: Report) -> int:
    """What the budget leaves for the arena; 0 where no budget was given or nothing is left."""
    return max(0, report.sram.budget - report.sram.static - report.sram.stack)


def memory_map(report: Report) -> Markup:
    """The chart for the page, whose styles it uses. It keeps its width where the page is narrower, up to a point."""
    frame, content = _chart(report)
    wide = Markup(' style="min-width:{}px"').format(round(frame.size[0] * 0.72))
    return svg.picture("map", frame.size, "Memory map of the arena over time", _description(report, frame), content,
                       wide)


def memory_svg(report: Report) -> str:
    """The chart as a file of its own: an SVG document with its styles, a heading and a legend, light or dark as the
    reader's system is. The same report gives the same text."""
    frame, content = _chart(report)
    wide, tall = frame.size
    head, legend = 50, list(_legend(report, wide))
    size = (wide, tall + head + 20 * len(legend) + 8)
    p = report.plan
    heading = (f"{words.clean(report.model)} on {words.clean(report.board)}: arena of {words.size(p.peak)} over time")
    moved = Markup('<g transform="translate(0 {})">\n{}\n</g>')
    parts = [
        Markup("<style>\n{}</style>").format(Markup(_styles())),
        svg.rectangle(0, 0, *size, "back"),
        svg.text(_LEFT, 48, "Each shape is a buffer: as wide as it lives, as high as it is large, at its address; a "
                 "staircase comes alive and dies row by row.", "axis"),
        svg.text(_LEFT, 26, svg.fitted(heading, (wide - _LEFT - 10) * 0.75), "heading"),
        moved.format(head, svg.join(content)),
        moved.format(head + tall + 4, svg.join(legend)) if legend else Markup(""),
    ]
    attributes = Markup(' width="{}" height="{}"').format(*size)
    return str(svg.picture("map", size, heading, _description(report, frame), parts, attributes)) + "\n"


@cache
def _styles() -> str:
    """The page's rules for charts with their colours put in: not every reader of SVG knows custom properties."""
    env = Environment(loader=PackageLoader("mcuc.report", "."), autoescape=False, undefined=StrictUndefined,
                      trim_blocks=True, lstrip_blocks=True)
    rules = env.get_template("chart.css.j2").render(kind_colours=palette.OTHER + 1)
    light = re.sub(r"var\(--([\w-]+)\)", lambda m: palette.COLOURS[m[1]][0], rules)
    dark = re.sub(r"var\(--([\w-]+)\)", lambda m: palette.COLOURS[m[1]][1], rules)
    return f"svg {{ font-family: {_FONT}; }}\n{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _legend(report: Report, wide: float) -> Iterator[Markup]:
    """Rows of swatches with the kinds' names."""
    row: list[Markup] = []
    at, line = float(_LEFT), 0
    for kind, colour in kinds(report):
        name = svg.fitted(kind, 200)
        room = 20 + len(name) * svg.CHARACTER + 16
        if at + room > wide and row:
            yield svg.join(row)
            row, at, line = [], float(_LEFT), line + 1
        row += [svg.rectangle(at, 20 * line, 12, 12, f"k{colour}"), svg.text(at + 18, 20 * line + 10, name, "label")]
        at += room
    if row:
        yield svg.join(row)


def _description(report: Report, frame: _Frame) -> str:
    streams = sum(s.kind == "stream" for s in frame.segments)
    layers = sum(s.layers for s in frame.segments)
    return (f"{len(report.memory_map)} buffers over {layers} layers, {streams} streams among them. The arena's peak is "
            f"{words.size(report.plan.peak)}, the proven lower bound {words.size(report.plan.lower_bound)}.")


def _chart(report: Report) -> tuple[_Frame, list[Markup]]:
    """A budget far above the peak is drawn at the upper edge and says so, or it would flatten the rest."""
    buffers = report.memory_map
    segments = segments_of(report)
    starts = _starts(report)
    tops = (starts.get(b.region, 0) + b.offset + b.size for b in buffers)
    used = max(1, report.plan.peak, report.plan.lower_bound, *tops)
    budget = arena_budget(report)
    to_scale = 0 < budget <= 1.6 * used
    bottom = _TOP + (_HIGH if len(buffers) > _MANY else _LOW)
    y = svg.linear(0, max(used * 1.13, budget * 1.06 if to_scale else 0), bottom, _TOP)
    frame = _Frame(timeline(segments, _LEFT, _NARROW, _WIDE), y, bottom, segments, starts)
    labels = short_names([b.name for b in buffers])
    shapes = (_shape(b, names, frame) for b, names in zip(buffers, labels, strict=True))
    content = [*_bands(frame), *_grid(frame), *_segments(frame), *shapes, *_regions(frame), *_axis(frame),
               *_bounds(report, frame), *_budget(report, budget, frame, to_scale)]
    return frame, content


def _starts(report: Report) -> dict[str, int]:
    """Where each RAM region's arena begins on the axis: one above the other, in the order of the report."""
    starts, at = {}, 0
    for r in report.sram.regions:
        if r.arena:
            starts[r.name] = at
            at += r.arena
    return starts


def _regions(frame: _Frame) -> Iterator[Markup]:
    """A line and the name where a region's arena begins."""
    for name, start in frame.starts.items():
        at = frame.y(start)
        yield svg.line(_LEFT, at, frame.right, at, "peak")
        yield svg.text(_LEFT + 6, at - 5, words.clean(name), "mark")


def _bands(frame: _Frame) -> Iterator[Markup]:
    """The streams' shades, two of them in turn so that neighbours are told apart."""
    streams = [s for s in frame.segments if s.kind == "stream"]
    for i, s in enumerate(streams):
        left, right = frame.x(s.lower), frame.x(s.upper)
        yield svg.rectangle(left, _TOP, right - left, frame.bottom - _TOP, f"band{i % 2}")


def _grid(frame: _Frame) -> Iterator[Markup]:
    for value in svg.byte_ticks(frame.highest, 9):
        at = frame.y(value)
        yield svg.line(_LEFT, at, frame.right, at, "grid")
        yield svg.text(_LEFT - 8, at + 4, _address(value), "tick", "end")
    for s in frame.segments:
        yield svg.line(frame.x(s.lower), _TOP, frame.x(s.lower), frame.bottom, "grid")


def _address(value: int) -> str:
    return f"{value / words.KB:g} KB" if value % 256 == 0 else f"{value} B"


def _segments(frame: _Frame) -> Iterator[Markup]:
    """What the pointer shows where there is no buffer: the layer or stream, and the bytes that are alive in it."""
    number = 0
    for s in frame.segments:
        left, right = frame.x(s.lower), frame.x(s.upper)
        live = f": at most {words.size(s.live)} alive" if s.live else ""
        area = svg.rectangle(left, _TOP, right - left, frame.bottom - _TOP + 20, "unit")
        yield svg.labelled(f"{_called(s, number)}{live}", area)
        number += s.layers


def _called(s: SegmentReport, number: int) -> str:
    name = f" ({words.clean(s.name)})" if s.name else ""
    if s.kind == "stream":
        return f"stream of layers {number} to {number + s.layers - 1}{name}"
    return f"layer {number}{name}"


def _axis(frame: _Frame) -> Iterator[Markup]:
    """The layers' numbers where there is room, the streams' brackets under them."""
    number, free, streams = 0, 0.0, 0
    for s in frame.segments:
        left, right = frame.x(s.lower), frame.x(s.upper)
        middle = (left + right) / 2
        text = str(number) if s.layers == 1 else f"{number}–{number + s.layers - 1}"
        half = len(text) * svg.CHARACTER / 2
        if middle - half >= free:
            yield svg.text(middle, frame.bottom + 15, text, "tick", "middle")
            free = middle + half + 4
        if s.kind == "stream":
            yield _bracket(s, number, left + 1.5, right - 1.5, frame.bottom + 22)
            streams += 1
        number += s.layers
    axis = "layer number; brackets are streams" if streams else "layer number"
    yield svg.text(frame.middle, frame.bottom + _UNDER - 8, axis, "axis", "middle")
    address = "arenas, one above the other" if len(frame.starts) > 1 else "address in the arena"
    yield svg.text(15, (_TOP + frame.bottom) / 2, address, "axis", "middle", turn=True)


def _bracket(s: SegmentReport, number: int, left: float, right: float, top: float) -> Markup:
    columns = f"{s.columns} columns at a time" if s.columns else "whole rows"
    layers, short = words.plural(s.layers, "layer"), columns.removesuffix(" at a time")
    texts = (f"stream: {layers}, {columns}", f"stream: {layers}, {short}", f"{layers}, {short}", layers)
    fits = next((t for t in texts if len(t) * svg.CHARACTER <= right - left), "")
    line = Markup('<path class="bracket" d="M{:.1f} {:.1f}v6H{:.1f}v-6"/>').format(left, top, right)
    label = svg.text((left + right) / 2, top + 18, fits, "tick", "middle") if fits else Markup("")
    return svg.labelled(f"{_called(s, number)}, {columns}, {words.count(s.passes)} passes", line, label)


def _shape(b: BufferReport, names: Sequence[str], frame: _Frame) -> Markup:
    x, y = frame.x, frame.y
    place = f"{b.offset:,}{f' in {words.clean(b.region)}' if b.region else ''}"
    b = replace(b, offset=b.offset + frame.starts.get(b.region, 0))
    css = f"buffer k{palette.colour_of(b.kind)}"
    if b.spans:
        shape = Markup('<path class="{}" d="{}"/>').format(css, outline.path(b, x, y))
    else:
        left, top = x(b.lower), y(b.offset + b.size)
        wide, tall = max(x(b.upper) - left, 0.8), max(y(b.offset) - top, 0.8)
        shape = svg.rectangle(left, top, wide, tall, css, 2 if min(wide, tall) > 8 else 0)
    tip = (f"{words.clean(b.name)} ({words.clean(b.kind)}): {words.size(b.size)} at {place}, "
           f"{alive(b, frame.segments)}{', row by row' if b.spans else ''}")
    return svg.labelled(tip, shape, label(names, *outline.widest_box(b, x, y)))


def alive(b: BufferReport, segments: Sequence[SegmentReport]) -> str:
    """The layers and streams that write first and read last: "layer 3 (conv)", "layer 3 (conv) to layer 5 (add)"."""
    first, last = segment_at(segments, b.lower), segment_at(segments, b.upper - 1)
    numbers = [sum(s.layers for s in segments[:i]) for i in (first, last)]
    begin, end = (_called(segments[i], n) for i, n in zip((first, last), numbers, strict=True))
    return begin if first == last else f"{begin} to {end}"


def _bounds(report: Report, frame: _Frame) -> Iterator[Markup]:
    plan, y, right = report.plan, frame.y, frame.right
    if plan.peak == plan.lower_bound:
        yield svg.line(_LEFT, y(plan.peak), right, y(plan.peak), "bound")
        yield svg.text(_LEFT + 6, y(plan.peak) - 5, f"peak = proven lower bound: {words.kb(plan.peak)}", "mark")
        return
    yield svg.line(_LEFT, y(plan.lower_bound), right, y(plan.lower_bound), "bound")
    yield svg.text(frame.middle, y(plan.lower_bound) + 14,
                   f"proven lower bound: {words.kb(plan.lower_bound)}", "mark", "middle")
    yield svg.line(_LEFT, y(plan.peak), right, y(plan.peak), "peak")
    yield svg.text(_LEFT + 6, y(plan.peak) - 5, f"peak: {words.kb(plan.peak)}", "mark")


def _budget(report: Report, budget: int, frame: _Frame, to_scale: bool) -> Iterator[Markup]:
    if not report.sram.budget:
        return
    if not budget:
        yield svg.text(frame.right - 6, _TOP - 12, "the budget leaves nothing for the arena", "mark over", "end")
        return
    at = frame.y(budget) if to_scale else _TOP - 8
    far = "" if to_scale else ", not to scale"
    under_peak = 0 <= at - frame.y(report.plan.peak) < 22  # then the label goes below its line, clear of the peak's
    yield svg.line(_LEFT, at, frame.right, at, "limit")
    yield svg.text(min(frame.right, _LEFT + _NARROW) - 6, at + (15 if under_peak else -6),
                   f"budget left for the arena: {words.kb(budget)}{far}", "mark over", "end")
