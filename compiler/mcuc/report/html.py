"""report.html: one self-contained file without scripts. Names come from model files: everything is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mcuc.report import accuracy, front, memory, palette, words
from mcuc.report.timeline import segments_of
from mcuc.report.types import BufferReport, Flash, LayerReport, Report, Sram

FLIPS_SHOWN = 500


class Card(NamedTuple):
    """A headline figure. used: per cent of the budget, or None where there is none."""

    label: str
    value: str
    detail: str
    evidence: str
    used: float | None = None


class Bar(NamedTuple):
    """A figure with a bar; width in per cent."""

    label: str
    value: str
    width: str
    css: str = ""


class BufferRow(NamedTuple):
    """A buffer with the layers over which it is alive, in words."""

    buffer: BufferReport
    alive: str


class LayerRow(NamedTuple):
    layer: LayerReport
    bars: tuple[Bar, ...]


def to_html(report: Report) -> str:
    """The page: same report, same text. It refers to nothing outside itself."""
    return environment().get_template("report.html.j2").render(**_context(report))


@cache
def environment() -> Environment:
    """Templates whose every text is cleaned and escaped."""
    env = Environment(loader=PackageLoader("mcuc.report", "."), autoescape=True, undefined=StrictUndefined,
                      trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_finalize)
    env.filters.update(count=words.count, kb=words.kb, size=words.size, percent=words.percent,
                       milliseconds=words.milliseconds, name=words.clean)
    return env


def _finalize(value: Any) -> Any:
    """Every text that a template prints is cleaned first (and escaped by Jinja afterwards)."""
    return words.clean(value, words.LONGEST_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _context(report: Report) -> dict[str, Any]:
    limits, segments = front.sram_steps(report.pareto), segments_of(report)
    return {
        "r": report, "verdict": words.verdict(report.verify), "cards": _cards(report), "layers": _layers(report),
        "cycles_class": words.cycles_class(report), "counted": words.evidence(report, "instructions"),
        "map": memory.memory_map(report) if report.memory_map else None, "kinds": memory.kinds(report),
        "buffers": [BufferRow(b, memory.alive(b, segments)) for b in report.memory_map],
        "weight_reads": words.weight_reads, "streams": words.streams(report), "streams_hint": words.STREAMS_HINT,
        "light": list(palette.variables(dark=False)), "dark": list(palette.variables(dark=True)),
        "kind_colours": palette.OTHER + 1,
        "sram_bars": _sram_bars(report.sram), "flash_bars": _flash_bars(report.flash), "mix": _mix(report),
        "mix_details": _mix_details(report), "pareto": front.pareto(report) if report.pareto else None,
        "front_rows": sorted(report.pareto, key=lambda p: (p.latency_ms, -p.accuracy, p.sram, p.name)),
        "front_legend": [(i, limit) for i, limit in enumerate(limits)], "kb_rule": words.KB_RULE,
        "columns": accuracy.columns(report.accuracy) if report.accuracy else [],
        "flips": accuracy.flips(report.accuracy, FLIPS_SHOWN) if report.accuracy else "",
        "judged_by": accuracy.EXPLAINED.get(report.accuracy.metric, "") if report.accuracy else "",
        "legend": _evidence_legend(report), "not_guaranteed": words.NOT_GUARANTEED,
    }


def _cards(report: Report) -> list[Card]:
    s, f = report.sram, report.flash
    spread = report.cycles_band
    low, high = report.latency_ms * max(0.0, 1 - spread), report.latency_ms * (1 + spread)
    time = f"{words.milliseconds(low)} to {words.milliseconds(high)} within the band" if spread else ""
    cards = [
        _budget_card("SRAM", s.total, s.budget, words.evidence(report, "sram")),
        _budget_card("Flash", f.total, f.budget, words.evidence(report, "flash")),
        Card("Latency", words.milliseconds(report.latency_ms), time, words.cycles_class(report, "latency_ms")),
        Card("Cycles", words.count(report.cycles),
             f"{words.macs_per_cycle(report.macs, report.cycles)} MAC/cycle at {report.clock_hz / 1e6:g} MHz",
             words.cycles_class(report)),
        Card("Instructions", words.count(report.instructions), f"for {words.count(report.macs)} MACs",
             words.evidence(report, "instructions")),
    ]
    if report.accuracy:
        said, *parts = accuracy.headline(report.accuracy)
        cards.append(Card(f"{accuracy.label(report.accuracy.metric).capitalize()}, int8", said.removeprefix("int8 "),
                          "; ".join(parts), f"on {words.count(report.accuracy.samples)} samples"))
    return cards


def _budget_card(label: str, total: int, budget: int, evidence: str) -> Card:
    if not budget:
        return Card(label, words.kb(total), f"{words.count(total)} bytes; no budget given", evidence)
    used = words.share(total, budget)
    detail = f"{words.count(total)} bytes, {used:.1f} % of the budget of {words.kb(budget)}"
    return Card(label, words.kb(total), detail, evidence, used)


def _sram_bars(s: Sram) -> list[Bar]:
    return _shares([("arena", s.arena, "c0"), ("static data", s.static, "c1"), ("stack", s.stack, "c2")], s.total)


def _flash_bars(f: Flash) -> list[Bar]:
    other = max(0, f.total - f.weights - f.code)
    parts = [("weights", f.weights, "c0"), ("code", f.code, "c1")]
    if f.regions:
        colours = {"weights": "c0", "code": "c1"}
        parts = [(f"{what} in {words.clean(r.name)}", getattr(r, what), colours[what])
                 for what in colours for r in f.regions if getattr(r, what)]
    parts.append(("other", other, "c2"))
    return _shares([p for p in parts if p[1] or p[0] != "other"], f.total)


def _shares(parts: Sequence[tuple[str, int, str]], total: int) -> list[Bar]:
    return [Bar(label, f"{words.size(n)}, {words.share(n, total):.1f} %", _width(n, total), css)
            for label, n, css in parts]


def _mix(report: Report) -> list[Bar]:
    """Instruction classes, most frequent first."""
    classes = {k: n for k, n in (report.mix or {}).items() if k not in words.MIX_DETAILS and n}
    total, most = sum(classes.values()), max(classes.values(), default=0)
    return [Bar(k, f"{words.count(n)}, {words.share(n, total):.1f} %", _width(n, most), "c0")
            for k, n in sorted(classes.items(), key=lambda c: (-c[1], c[0]))]


def _mix_details(report: Report) -> list[tuple[str, str]]:
    labels = ("conditional branches taken", "conditional branches not taken", "words loaded by multiple transfers",
              "words stored by multiple transfers")
    mix = report.mix or {}
    return [(label, words.count(mix[k])) for k, label in zip(words.MIX_DETAILS, labels, strict=True) if k in mix]


def _layers(report: Report) -> list[LayerRow]:
    """One row a layer; each column's longest bar is its largest value."""
    def rate(x: LayerReport) -> float:
        return x.macs / x.cycles if x.macs and x.cycles else 0.0

    layers = report.layers
    most = [max((v(x) for x in layers), default=0) for v in (_cycles, _instructions, rate, _live)]
    return [
        LayerRow(x, (
            Bar("cycles", words.count(x.cycles), _width(x.cycles, most[0]), "c0"),
            Bar("instructions", words.count(x.instructions), _width(x.instructions, most[1]), "c1"),
            Bar("MAC/cycle", words.macs_per_cycle(x.macs, x.cycles), _width(rate(x), most[2]), "c2"),
            Bar("live SRAM", words.kb(x.sram_live), _width(x.sram_live, most[3]), "c3")))
        for x in layers]


def _cycles(x: LayerReport) -> float:
    return x.cycles


def _instructions(x: LayerReport) -> float:
    return x.instructions


def _live(x: LayerReport) -> float:
    return x.sram_live


def _width(value: float, most: float) -> str:
    return f"{min(100.0, words.share(value, most)):.2f}"


def _evidence_legend(report: Report) -> list[tuple[str, str]]:
    """The classes that this report uses, with what they mean."""
    used = {words.evidence(report, f) for f in ("sram", "flash", "instructions", "cycles", "latency_ms")}
    return [(name, meaning) for name, meaning in words.EVIDENCE.items() if any(name in u for u in used)]
