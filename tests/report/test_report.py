"""What the report promises: JSON that comes back, pages that no name can break, figures with their evidence."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from typing import Any

import pytest
import sample
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from mcuc.errors import McucError
from mcuc.report import words
from mcuc.report.html import to_html
from mcuc.report.json import from_json, to_json
from mcuc.report.labels import short_names
from mcuc.report.text import summary
from mcuc.report.types import Accuracy, BufferReport, Column, PlanReport, Report, SegmentReport, Sram

VOID = {"meta", "br", "img", "link", "input", "hr"}
CONTRACT = {
    "": "model board core clock_hz toolchain profile optimize sram flash macs instructions cycles cycles_band "
        "latency_ms evidence verify layers accuracy plan",
    "sram": "arena work static stack total budget",
    "flash": "weights code total budget",
    "verify": "oracle inputs bit_exact max_abs_diff differing first_diff_layer host emulated audit",
    "accuracy": "float int8 negative_flips samples",
    "plan": "lower_bound peak optimal",
}


class Page(HTMLParser):
    """The elements, the visible text and the attributes of a page; an element closed out of turn is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>"
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of_class(self, name: str) -> list[tuple[str, dict[str, str]]]:
        return [(tag, a) for tag, a in self.tags if name in a.get("class", "").split()]


def terminal(report: Report, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(summary(report))
    return out.getvalue()


def hostile(name: str = sample.HOSTILE) -> Report:
    """The sample with the name wherever a model file decides about one, and with every text set by others."""
    r = sample.report()
    return replace(
        r, model=name, board=name, core=name, toolchain=name, profile=name, optimize=name, notes=(name,),
        evidence=dict.fromkeys(r.evidence, name), mix={name: 3, "alu": 5},
        layers=tuple(replace(x, name=name, op=name, kernel=name, why=name) for x in r.layers),
        memory_map=tuple(replace(b, name=name, kind=name) for b in r.memory_map),
        pareto=tuple(replace(p, name=name) for p in r.pareto), plan=replace(r.plan, schedules=name),
        accuracy=Accuracy(0.5, 0.5, 1, 1, metric=name, data=name, columns=(Column(name, name, 1, 1, 1, 1),)),
        options={name: name},
        segments=(SegmentReport(name, "stream", 0, 9, 8, 500, pushed=name), SegmentReport(name, name, 9, 13, 5, 60)),
        verify=replace(r.verify, oracle=name, inputs=name, bit_exact=False, first_diff_layer=name))


def test_sample_is_a_possible_plan() -> None:
    r = sample.report()
    for a, b in combinations(r.memory_map, 2):
        apart = a.upper <= b.lower or b.upper <= a.lower
        assert apart or a.offset + a.size <= b.offset or b.offset + b.size <= a.offset, (a, b)
    assert max(b.offset + b.size for b in r.memory_map) == r.plan.peak == r.sram.arena
    assert max(b.upper for b in r.memory_map) == len(r.layers)


def test_json_comes_back_as_it_was() -> None:
    r = sample.report()
    assert from_json(to_json(r)) == r
    bare = replace(r, accuracy=None, pareto=(), mix=None, notes=(), memory_map=())
    assert from_json(to_json(bare)) == bare
    assert from_json(to_json(sample.crowded())) == sample.crowded()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(categories=["Lu", "Cc", "Cs", "Cf", "So", "Po"])), st.integers(0, 2**53))
def test_json_comes_back_for_any_name_and_count(name: str, n: int) -> None:
    name = name.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # a pair of surrogates is one
    r = replace(hostile(name), macs=n)
    text = to_json(r)
    text.encode("ascii")
    assert from_json(text) == r


def test_json_has_the_keys_that_others_rely_on() -> None:
    data = json.loads(to_json(sample.report()))
    for part, keys in CONTRACT.items():
        assert set(keys.split()) <= set(data[part] if part else data)
    layer_keys = {"name", "op", "kernel", "why", "macs", "instructions", "cycles", "sram_live"}
    assert all(layer_keys <= set(layer) for layer in data["layers"])


def test_json_is_sorted_and_ends_in_a_newline() -> None:
    r = sample.report()
    shuffled = replace(r, evidence=dict(reversed(r.evidence.items())), mix=dict(reversed((r.mix or {}).items())))
    assert to_json(shuffled) == to_json(r)
    assert r.accuracy is not None
    r = replace(r, accuracy=replace(r.accuracy, flips=()))  # lists of whole numbers take one line
    assert to_json(r) == json.dumps(json.loads(to_json(r)), indent=2, sort_keys=True) + "\n"


def test_json_has_a_line_for_each_span_and_changes_no_text_that_looks_like_one() -> None:
    b = BufferReport("[\n1,\n2\n]", "activation", 0, 3, 0, 8, ((0, 2, 0, 4), (1, 3, 4, 8)))
    r = replace(sample.report(), memory_map=(b,), notes=("[\n  3,\n  4\n]",))
    text = to_json(r)
    assert "[0, 2, 0, 4],\n" in text and "[1, 3, 4, 8]\n" in text
    assert from_json(text) == r
    compact = json.dumps(json.loads(text), indent=2, sort_keys=True)
    assert re.sub(r"\s", "", text) == re.sub(r"\s", "", compact)


def _changed(change: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(to_json(sample.report()))
    change(data)
    return json.dumps(data)


def _segment(lower: int, upper: int) -> dict[str, Any]:
    return {"name": "conv", "kind": "layer", "lower": lower, "upper": upper, "layers": 1, "live": 5}


BAD = {
    "empty": "",
    "not JSON": "{",
    "a list": "[]",
    "null": "null",
    "deeply nested": "[" * 100_000,
    "a key missing": _changed(lambda d: d.pop("sram")),
    "a nested key missing": _changed(lambda d: d["plan"].pop("peak")),
    "a text where a number is due": _changed(lambda d: d.update(cycles="many")),
    "a fraction of a byte": _changed(lambda d: d["sram"].update(arena=1.5)),
    "a negative size": _changed(lambda d: d["memory_map"][0].update(size=-1)),
    "a number no reader keeps": _changed(lambda d: d.update(macs=10**400)),
    "a lifetime that ends before it starts": _changed(lambda d: d["memory_map"][0].update(lower=9)),
    "a span outside its buffer": _changed(lambda d: d["memory_map"][0].update(spans=[[0, 1, 0, 491]])),
    "a span of five numbers": _changed(lambda d: d["memory_map"][0].update(spans=[[0, 1, 0, 490, 0]])),
    "a span after its buffer": _changed(lambda d: d["memory_map"][0].update(spans=[[0, 2, 0, 490]])),
    "a gap between segments": _changed(lambda d: d.update(segments=[_segment(0, 1), _segment(2, 3)])),
    "a segment of no time": _changed(lambda d: d.update(segments=[_segment(0, 1), _segment(1, 1)])),
    "not a number": _changed(lambda d: d.update(latency_ms=0)).replace('"latency_ms": 0', '"latency_ms": NaN'),
    "an infinite latency": _changed(lambda d: d.update(latency_ms=0)).replace('"latency_ms": 0', '"latency_ms": 1e999'),
    "a number longer than Python converts": _changed(lambda d: d.update(macs=0)).replace('"macs": 0', '"macs": 1', 1)
    .replace('"macs": 1', '"macs": ' + "9" * 5000, 1),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_bad_json_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(McucError) as e:
        from_json(text)
    assert e.value.code == "bad-report"
    assert e.value.found and e.value.try_this


def test_json_with_more_keys_is_read() -> None:
    assert from_json(_changed(lambda d: d.update(later_addition=1))) == sample.report()


def test_a_figure_that_is_no_number_is_not_written() -> None:
    with pytest.raises(McucError, match="finite"):
        to_json(replace(sample.report(), latency_ms=float("nan")))


@pytest.mark.parametrize("report", [
    sample.report(), hostile(), hostile("]]></style></svg>{{ 7*7 }}<img src=x onerror=y>"),
    hostile("\ud800 \x00 " + "x" * 100_000)])
def test_page_is_well_formed_and_loads_nothing(report: Report) -> None:
    text = to_html(report)
    text.encode("utf-8")
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object", "a", "use", "image"}
    assert not [a for _, a in page.tags if any(k.startswith("on") or k in ("href", "src", "xlink:href") for k in a)]
    assert set(re.findall(r"https?://[^\"' <]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert "url(" not in text and "@import" not in text


def test_page_shows_hostile_names_as_text() -> None:
    text = to_html(hostile())
    assert "<script" not in text.lower()
    assert "&lt;script&gt;alert(" in text
    assert "<script>alert('x')</script>" in Page(text).text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", text)


def test_page_is_the_same_for_the_same_report() -> None:
    r = sample.report()
    assert to_html(r) == to_html(r) == to_html(from_json(to_json(r)))


@pytest.mark.parametrize("buffers", [18, 5, 1])
def test_map_has_one_rectangle_a_buffer_at_its_address_and_time(buffers: int) -> None:
    r = sample.report()
    r = replace(r, memory_map=r.memory_map[:buffers])
    page = Page(to_html(r))
    found = page.of_class("buffer")
    assert len(found) == len(r.memory_map) == buffers
    boxes = [{k: float(a[k]) for k in ("x", "y", "width", "height")} for _, a in found]
    per_step = {round(box["width"] / (b.upper - b.lower), 1) for box, b in zip(boxes, r.memory_map, strict=True)}
    assert max(per_step) - min(per_step) <= 0.1
    big = [(box, b) for box, b in zip(boxes, r.memory_map, strict=True) if b.size > 1000]
    bottoms = [(box["y"] + box["height"], b.offset) for box, b in big]
    for (y0, o0), (y1, o1) in combinations(bottoms, 2):
        assert (y0 - y1) * (o1 - o0) >= 0, "higher addresses lie higher"
    for b in r.memory_map:
        assert f"{b.name} ({b.kind}): {words.size(b.size)} at {b.offset:,}" in page.text


def test_map_labels_tell_tensors_apart() -> None:
    names = ["input", "net/act_1/Relu;net/bn_1/add", "net/act_2/Relu", "0:CONV_2D/scratch", "net/dense"]
    assert [long for long, _ in short_names(names)] == ["input", "act_1/Relu", "act_2/Relu", "0:CONV_2D/scratch",
                                                        "dense"]
    assert [short for _, short in short_names(names)] == ["input", "act_1", "act_2", "0:CONV_2D/scratch", "dense"]
    assert short_names(["a/b"]) == [("a/b", "a")] and short_names([";", ""]) == [(";", ";"), ("", "")]
    assert short_names(["a/b", "c/d"]) == [("a/b", "a"), ("c/d", "c")]
    assert short_names(["x/conv/line", "x/add/line", "x", "y/conv"]) == [
        ("conv", "conv"), ("add", "add"), ("x", "x"), ("y/conv", "y")]


def test_map_marks_bound_peak_and_budget() -> None:
    page = to_html(sample.report())
    assert "peak = proven lower bound: 15.9 KB" in page
    assert "budget left for the arena: 639.3 KB, not to scale" in page
    sram = Sram(16_256, 15_766, 0, 680, 16_936, 20_480)
    r = replace(sample.report(), plan=PlanReport(16_000, 16_256, False), sram=sram)
    page = to_html(r)
    assert "proven lower bound: 15.6 KB" in page and "peak: 15.9 KB" in page
    assert "budget left for the arena: 19.3 KB<" in page


def test_page_states_evidence_and_band() -> None:
    cards = Page(to_html(sample.report())).text
    assert cards.count("estimated, ±25 %") >= 6
    for word in ("emulated", "planned", "linked", "1 KB = 1024 bytes", "91.63 %", "chosen, 36.8 KB"):
        assert word in cards
    silent = to_html(replace(sample.report(), evidence={}))
    assert words.UNSTATED in silent


def test_page_has_bars_for_every_layer_and_a_point_for_every_candidate() -> None:
    r = sample.report()
    page = Page(to_html(r))
    assert len(page.of_class("bar")) == 4 * len(r.layers)
    front = [a for _, a in page.of_class("point") if "r" in a and a["r"] == "6"]
    assert len(front) == len(r.pareto)
    assert len(page.of_class("ring")) == 1
    assert not Page(to_html(replace(r, pareto=()))).of_class("point")


@pytest.mark.parametrize("change", [
    {"memory_map": ()}, {"layers": ()}, {"accuracy": None}, {"mix": None}, {"mix": {}}, {"pareto": ()},
    {"cycles": 0, "macs": 0, "latency_ms": 0.0, "cycles_band": 0.0},
    {"sram": Sram(0, 0, 0, 0, 0, 0), "plan": PlanReport(0, 0, True)},
    {"pareto": sample.report().pareto[:1]},
    {"pareto": (replace(sample.report().pareto[0], accuracy=0.0, latency_ms=0.0, sram=0),) * 3},
    {"memory_map": (BufferReport("a", "tensor", 0, 2**53, 0, 2**53), BufferReport("b", "odd", 5, 6, 1, 0))},
    {"accuracy": Accuracy(None, 0.5, None, 2)}, {"accuracy": Accuracy(0.9, None, 0, 9, 0, None, "auc", threshold=-3.0)},
    {"accuracy": Accuracy(2.0, 3e9, None, 9, None, (-4e9, 5e9), "error")},
])
def test_reports_with_parts_missing_or_extreme_are_shown(change: dict[str, Any]) -> None:
    r = replace(sample.report(), **change)
    Page(to_html(r))
    assert words.KB_RULE in terminal(r)


@pytest.mark.parametrize(("accuracy", "said"), [
    (sample.report().accuracy, ("accuracy int8 91.63 %, float 92.03 %, 4 right in float and wrong in int8, 2 the other "
                                "way round: -1.38 to +0.59 points, on 502 samples", "samples 17, 80, 81, 301",
                                "93.75 % on 16 samples, float 93.75 %", "unlike the C's: 41 of 6,024")),
    (Accuracy(0.97, 0.96, 2, 40, 1, (-0.02, 0.01), "auc", (3, 4), (
        Column(".tflite", "r", 80, 40, 80, 0, 0.96, None, 0.97, 2, 1, (-0.02, 0.01)),
        Column("emulated", "e", 2, 0, 2, 0)), "", 0.5),
     ("AUC int8 0.9600, float 0.9700, 2 right in float and wrong in int8, 1 the other way round: -0.0200 to +0.0100, "
      "on 40 groups of samples",
      "0.9600 on 40 groups of 80 samples, float 0.9700; output elements unlike the C's: none",
      "emulated 2 samples;")),
    (Accuracy(0.012, 0.013, None, 40, None, (0.0001, 0.0019), "error", (), (
        Column(".tflite", "r", 40, 40, 40, 0, 0.013, 0.02, 0.012, 30, 9, (0.0001, 0.0019), 0.019, (-1.0, 1.0)),)),
     ("mean error int8 0.013, float 0.012, difference +0.0001 to +0.0019, on 40 samples",
      "0.013 (RMSE 0.02) on 40 samples, float 0.012")),
])
def test_accuracy_is_worded_by_its_metric(accuracy: Accuracy, said: tuple[str, ...]) -> None:
    r = replace(sample.report(), accuracy=accuracy)
    assert from_json(to_json(r)) == r
    text = " ".join(terminal(r, 400).split())
    assert all(part in text for part in said), text
    page = " ".join(Page(to_html(r)).text.split())
    assert all(c.runtime in page for c in accuracy.columns) and "95 %" in page


def test_names_of_svg_are_read_out() -> None:
    page = Page(to_html(sample.report()))
    ids = {a["id"] for _, a in page.tags if "id" in a}
    pictures = [a for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    assert len(pictures) == 2
    assert all(set(a["aria-labelledby"].split()) <= ids for a in pictures)
    assert all(set(a["aria-labelledby"].split()) <= ids for _, a in page.tags if "aria-labelledby" in a)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_text_has_the_contrast_that_wcag_asks_for() -> None:
    """Level AA: 4.5 to 1, in both colour schemes."""
    css = re.findall(r":root \{(.*?)\}", to_html(sample.report()), re.S)
    assert len(css) == 2
    for block in css:
        colour = dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6})", block))
        pairs = [("ink", "page"), ("ink", "panel"), ("soft", "page"), ("soft", "panel"), ("good", "good-back"),
                 ("bad", "bad-back"), ("bad", "panel"), ("warn", "warn-back"), *(("ink", f"k{i}") for i in range(6))]
        for front, back in pairs:
            low, high = sorted((_luminance(colour[front]), _luminance(colour[back])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)


def test_terminal_gives_sizes_evidence_and_verdict() -> None:
    text = terminal(sample.report())
    assert "1 KB = 1024 bytes" in text and "16,936 bytes (16.5 KB)" in text
    assert "5,993,499 (estimated, ±25 %)" in text and "49.9 ms (estimated, ±25 %)" in text
    assert "5,859,231 (emulated)" in text
    assert "bit-exact" in text and "TFLite Micro" in text
    layers = [line for line in text.splitlines() if re.match(r"\s*\d+  \S", line)]
    assert len(layers) == len(sample.report().layers)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_terminal_never_cuts_a_figure(width: int) -> None:
    r = sample.report()
    r = replace(r, layers=tuple(replace(x, name="block/" * 20 + x.name) for x in r.layers))
    text = terminal(r, width)
    for x in r.layers:
        assert f"{x.cycles:,}" in text and f"{x.instructions:,}" in text and f"{x.sram_live:,}" in text
    assert max(map(len, text.splitlines())) <= width


def test_terminal_prints_no_control_characters_and_no_markup() -> None:
    text = terminal(hostile())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
    assert "[bold]" in text


def test_verdict_tells_agreement_difference_and_absence() -> None:
    v = sample.report().verify
    assert words.verdict(v).status == "pass"
    differs = replace(v, bit_exact=False, differing=3, max_abs_diff=2, first_diff_layer="pw_2")
    assert words.verdict(differs).status == "fail" and "pw_2" in words.verdict(differs).detail
    assert words.verdict(replace(v, audit=1)).status == "fail"
    assert words.verdict(replace(v, host=0, emulated=0)).status == "none"
    assert "not run" in words.verdict(replace(v, audit=None)).detail


def test_over_budget_is_said() -> None:
    r = sample.report()
    r = replace(r, sram=replace(r.sram, budget=16_000))
    assert "OVER BUDGET" in terminal(r) and "Over budget." in to_html(r)
    assert "OVER BUDGET" not in terminal(sample.report()) and "Over budget." not in to_html(sample.report())
