"""The memory map over time as SVG: steps from left to right, addresses upwards, one rectangle a buffer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from mcuc.report import svg, words
from mcuc.report.types import BufferReport, Report

_WIDTH, _HEIGHT = 1000, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 990, 34, 388
_COLOURS = {"input or output": 0, "input": 0, "output": 1, "activation": 2, "scratch": 3, "state": 4}
_OTHER = 5


def kinds(report: Report) -> list[tuple[str, int]]:
    """The kinds in the map with the number of their colour: fixed for the usual ones, one for all others."""
    found = {b.kind for b in report.memory_map}
    return sorted(((k, _COLOURS.get(k, _OTHER)) for k in found), key=lambda k: (k[1], k[0]))


def arena_budget(report: Report) -> int:
    """What the budget leaves for the arena; 0 where no budget was given or nothing is left."""
    return max(0, report.sram.budget - report.sram.static - report.sram.stack)


def short_names(names: Sequence[str]) -> list[str]:
    """What tells the tensors apart: of fused names joined by ";" the first, without the scopes that most of them share.

    Converters name tensors functional_1/activation_3/Relu;functional_1/batch_normalization_3/..., scratch of a layer
    is called layer/scratch.
    """
    first = [name.split(";")[0] or name for name in names]
    scopes = [() if n.count("/") <= n.endswith("/scratch") else tuple(n.split("/")[:-1]) for n in first]
    scoped = [scope for scope in scopes if scope]
    shared = 0
    if len(scoped) > 1:
        shared = next((i for i, parts in enumerate(zip(*scoped, strict=False)) if len(set(parts)) > 1),
                      min(map(len, scoped)))
    return ["/".join(n.split("/")[shared:]) if scope else n for n, scope in zip(first, scopes, strict=True)]


def memory_map(report: Report) -> Markup:
    """The chart. A budget far above the peak is drawn at the upper edge and says so, or it would flatten the rest."""
    buffers = report.memory_map
    steps = max((b.upper for b in buffers), default=1)
    used = max(1, report.plan.peak, report.plan.lower_bound, *(b.offset + b.size for b in buffers))
    budget = arena_budget(report)
    to_scale = 0 < budget <= 1.6 * used
    x = svg.linear(0, steps, _LEFT, _RIGHT)
    y = svg.linear(0, max(used * 1.13, budget * 1.06 if to_scale else 0), _BOTTOM, _TOP)
    colour = dict(kinds(report))
    labels = short_names([b.name for b in buffers])
    boxes = (_rectangle(b, label, colour[b.kind], report, x, y) for b, label in zip(buffers, labels, strict=True))
    content = [*_axes(steps, x, y), *boxes,
               *_bounds(report, y), *_budget(report, budget, y, to_scale)]
    description = (f"{len(buffers)} buffers over {steps} steps. The arena's peak is {words.size(report.plan.peak)}, "
                   f"the proven lower bound {words.size(report.plan.lower_bound)}. "
                   "A table of all buffers follows the chart.")
    return svg.picture("map", _WIDTH, _HEIGHT, "Memory map of the arena over time", description, content)


def _axes(steps: int, x: svg.Scale, y: svg.Scale) -> Iterator[Markup]:
    for value in svg.byte_ticks(_value_at_top(y), 9):
        yield svg.line(_LEFT, y(value), _RIGHT, y(value), "grid")
        yield svg.text(_LEFT - 8, y(value) + 4, _address(value), "tick", "end")
    for tick in svg.ticks(0, steps - 1, 26):
        if tick == int(tick):
            yield svg.text(x(tick + 0.5), _BOTTOM + 17, str(int(tick)), "tick", "middle")
    yield svg.text((_LEFT + _RIGHT) / 2, _BOTTOM + 38, "step (layer number)", "axis", "middle")
    yield svg.text(15, (_TOP + _BOTTOM) / 2, "address in the arena", "axis", "middle", turn=True)


def _value_at_top(y: svg.Scale) -> float:
    per_byte = y(0) - y(1)
    return (_BOTTOM - _TOP) / per_byte


def _address(value: int) -> str:
    return f"{value / words.KB:g} KB" if value % 256 == 0 else f"{value} B"


def _rectangle(b: BufferReport, label: str, colour: int, report: Report, x: svg.Scale, y: svg.Scale) -> Markup:
    left, right, top, bottom = x(b.lower), x(b.upper), y(b.offset + b.size), y(b.offset)
    wide, tall = right - left, bottom - top
    tip = (f"{words.clean(b.name)} ({words.clean(b.kind)}): {words.size(b.size)} at {b.offset:,}, "
           f"steps {b.lower} to {b.upper - 1}{_layer_names(b, report)}")
    box = Markup('<rect class="buffer k{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" rx="2"/>').format(
        colour, left, top, wide, max(tall, 0.8))
    return Markup('<g><title>{}</title>{}{}</g>').format(tip, box, _label(label, left, top, wide, tall))


def _label(name: str, left: float, top: float, wide: float, tall: float) -> Markup:
    """Across where it fits, else upwards, else not at all: the tooltip and the table have it anyway."""
    middle_x, middle_y = left + wide / 2, top + tall / 2
    across, upwards = svg.fitted(name, wide - 6), svg.fitted(name, tall - 6)
    if tall >= 13 and across and (len(across) >= len(upwards) or wide < 13):
        return svg.text(middle_x, middle_y + 4, across, "inside", "middle")
    if wide >= 13 and upwards:
        return svg.text(middle_x + 4, middle_y, upwards, "inside", "middle", turn=True)
    return Markup("")


def _layer_names(b: BufferReport, report: Report) -> str:
    """The layers that write first and read last; steps are layer numbers where the report lists every layer."""
    if b.upper > len(report.layers):
        return ""
    first, last = report.layers[b.lower].name, report.layers[b.upper - 1].name
    return f" ({words.clean(first)})" if first == last else f" ({words.clean(first)} to {words.clean(last)})"


def _bounds(report: Report, y: svg.Scale) -> Iterator[Markup]:
    plan = report.plan
    if plan.peak == plan.lower_bound:
        yield svg.line(_LEFT, y(plan.peak), _RIGHT, y(plan.peak), "bound")
        yield svg.text(_LEFT + 6, y(plan.peak) - 5, f"peak = proven lower bound: {words.kb(plan.peak)}", "mark")
        return
    yield svg.line(_LEFT, y(plan.lower_bound), _RIGHT, y(plan.lower_bound), "bound")
    yield svg.text((_LEFT + _RIGHT) / 2, y(plan.lower_bound) + 14,
                   f"proven lower bound: {words.kb(plan.lower_bound)}", "mark", "middle")
    yield svg.line(_LEFT, y(plan.peak), _RIGHT, y(plan.peak), "peak")
    yield svg.text(_LEFT + 6, y(plan.peak) - 5, f"peak: {words.kb(plan.peak)}", "mark")


def _budget(report: Report, budget: int, y: svg.Scale, to_scale: bool) -> Iterator[Markup]:
    if not report.sram.budget:
        return
    if not budget:
        yield svg.text(_RIGHT - 6, _TOP - 12, "the budget leaves nothing for the arena", "mark over", "end")
        return
    at = y(budget) if to_scale else _TOP - 8
    far = "" if to_scale else ", not to scale"
    under_peak = 0 <= at - y(report.plan.peak) < 22  # then the label goes below its line, clear of the peak's
    yield svg.line(_LEFT, at, _RIGHT, at, "limit")
    yield svg.text(_RIGHT - 6, at + (15 if under_peak else -6), f"budget left for the arena: {words.kb(budget)}{far}",
                   "mark over", "end")
