"""The Pareto front as SVG: accuracy over latency, coloured and labelled by SRAM, the chosen candidate marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from mcuc.report import svg, words
from mcuc.report.types import ParetoPoint, Report

_WIDTH, _HEIGHT = 1000, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 980, 18, 360
_COLOURS = 5
_RADIUS = 6

_Box = tuple[float, float, float, float]


def sram_steps(points: Sequence[ParetoPoint]) -> list[int]:
    """Upper limits in bytes of the colour classes: equal numbers of points in each, so that colours tell them apart."""
    sizes = sorted(p.sram for p in points)
    classes = min(_COLOURS, len(set(sizes)))
    return sorted({sizes[len(sizes) * (i + 1) // classes - 1] for i in range(classes)}) if classes else []


def colour_of(point: ParetoPoint, limits: Sequence[int]) -> int:
    return next(i for i, limit in enumerate(limits) if point.sram <= limit)


def pareto(report: Report) -> Markup:
    """The chart; report.pareto must not be empty. Accuracy in per cent, latency in ms."""
    points = sorted(report.pareto, key=lambda p: (p.latency_ms, -p.accuracy, p.sram, p.name))
    limits = sram_steps(points)
    x_ticks, x = _axis([p.latency_ms for p in points], 10, _LEFT, _RIGHT)
    y_ticks, y = _axis([100 * p.accuracy for p in points], 7, _BOTTOM, _TOP)
    content = [*_grid(x_ticks, y_ticks, x, y, words.cycles_class(report, "latency_ms"))]
    content += [_point(p, colour_of(p, limits), x, y) for p in points]
    content += _labels(points, x, y)
    chosen = next((f" The chosen one is {words.clean(p.name)}: {words.percent(p.accuracy)}, "
                   f"{words.milliseconds(p.latency_ms)}, {words.size(p.sram)} of SRAM."
                   for p in points if p.chosen), "")
    description = f"{len(points)} candidates.{chosen} A table of all candidates follows the chart."
    return svg.picture("front", (_WIDTH, _HEIGHT), "Accuracy over latency of the candidates on the Pareto front",
                       description, content, Markup(""))


def _axis(values: Sequence[float], wanted: int, start: float, end: float) -> tuple[list[float], svg.Scale]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or max(0.5, abs(high) * 0.1)
    low, high = max(0.0, low - margin), high + margin
    return svg.ticks(low, high, wanted), svg.linear(low, high, start, end)


def _grid(xs: list[float], ys: list[float], x: svg.Scale, y: svg.Scale, evidence: str) -> Iterator[Markup]:
    for value in ys:
        yield svg.line(_LEFT, y(value), _RIGHT, y(value), "grid")
        yield svg.text(_LEFT - 8, y(value) + 4, f"{value:.6g} %", "tick", "end")
    for value in xs:
        yield svg.line(x(value), _TOP, x(value), _BOTTOM, "grid")
        yield svg.text(x(value), _BOTTOM + 18, f"{value:.6g}", "tick", "middle")
    yield svg.text((_LEFT + _RIGHT) / 2, _BOTTOM + 42, f"latency in ms ({evidence})", "axis", "middle")
    yield svg.text(15, (_TOP + _BOTTOM) / 2, "accuracy on the validation split", "axis", "middle", turn=True)


def _point(p: ParetoPoint, colour: int, x: svg.Scale, y: svg.Scale) -> Markup:
    tip = (f"{words.clean(p.name)}: {words.percent(p.accuracy)}, {words.milliseconds(p.latency_ms)}, "
           f"SRAM {words.size(p.sram)}, flash {words.size(p.flash)}{', chosen' if p.chosen else ''}")
    cx, cy = x(p.latency_ms), y(100 * p.accuracy)
    ring = Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="11"/>').format(cx, cy) if p.chosen else Markup("")
    return Markup('<g><title>{}</title>{}<circle class="point s{}" cx="{:.1f}" cy="{:.1f}" r="{}"/></g>').format(
        tip, ring, colour, cx, cy, _RADIUS)


def _labels(points: Sequence[ParetoPoint], x: svg.Scale, y: svg.Scale) -> list[Markup]:
    """SRAM beside each point where there is room: the chosen one first, then from left to right."""
    taken: list[_Box] = []
    for p in points:
        cx, cy, r = x(p.latency_ms), y(100 * p.accuracy), 12 if p.chosen else _RADIUS
        taken.append((cx - r, cy - r, cx + r, cy + r))
    placed = []
    for p in sorted(points, key=lambda p: not p.chosen):
        label = f"chosen, {words.kb(p.sram)}" if p.chosen else words.kb(p.sram)
        cx, cy, wide = x(p.latency_ms), y(100 * p.accuracy), len(label) * svg.CHARACTER
        gap = 15 if p.chosen else 10
        for left, base in ((cx + gap, cy + 4), (cx - wide / 2, cy + gap + 9), (cx - wide / 2, cy - gap),
                           (cx - gap - wide, cy + 4)):
            box = (left, base - 10, left + wide, base + 3)
            if _inside(box) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                placed.append(svg.text(left, base, label, "mark" if p.chosen else "tick"))
                break
    return placed


def _inside(box: _Box) -> bool:
    return box[0] >= _LEFT and box[1] >= _TOP and box[2] <= _RIGHT + 15 and box[3] <= _BOTTOM


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
