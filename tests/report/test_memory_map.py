"""The memory map over time: shapes that are the buffers, an axis that squeezes nothing, a file that stands alone."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
import sample
from hypothesis import given, settings
from hypothesis import strategies as st
from test_report import Page, hostile, terminal

from mcuc.report import outline, palette, words
from mcuc.report.html import to_html
from mcuc.report.memory import alive, memory_map, memory_svg
from mcuc.report.timeline import segment_at, segments_of, timeline
from mcuc.report.types import BufferReport, Report, SegmentReport

SVG = "{http://www.w3.org/2000/svg}"
TIME, BYTES = 14, 12  # of the random buffers

Point = tuple[float, float]


def spans() -> st.SearchStrategy[list[tuple[int, int, int, int]]]:
    interval = st.tuples(st.integers(0, TIME), st.integers(0, TIME)).map(sorted)
    content = st.tuples(st.integers(0, BYTES), st.integers(0, BYTES)).map(sorted)
    return st.lists(st.tuples(interval, content).map(lambda p: (p[0][0], p[0][1], p[1][0], p[1][1])),
                    min_size=1, max_size=7)


@st.composite
def staircases(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Rows that come alive and die one after the other, as layers write and read them."""
    count = draw(st.integers(1, 6))
    begins = sorted(draw(st.lists(st.integers(0, 6), min_size=count, max_size=count)))
    ends = sorted(draw(st.lists(st.integers(7, TIME), min_size=count, max_size=count)))
    found = [(a, b, 2 * k, 2 * k + 2) for k, (a, b) in enumerate(zip(begins, ends, strict=True))]
    return draw(st.permutations(found))


def buffer_of(found: list[tuple[int, int, int, int]], offset: int = 3) -> BufferReport:
    return BufferReport("b", "activation", 0, TIME, offset, BYTES, tuple(found))


def used_cells(b: BufferReport) -> set[tuple[int, int]]:
    """(tick, address) of every byte in use: the definition of spans."""
    return {(t, b.offset + at) for lower, upper, start, end in b.spans for t in range(lower, upper)
            for at in range(start, end)}


def polygons(path: str) -> list[list[Point]]:
    """The corners of each closed part of an SVG path made of M, H, V and Z."""
    found: list[list[Point]] = []
    x = y = 0.0
    for command, rest in re.findall(r"([MHVZ])([^MHVZ]*)", path):
        numbers = [float(n) for n in rest.split()]
        if command == "M":
            x, y = numbers
            found.append([(x, y)])
        elif command == "H":
            (x,) = numbers
        elif command == "V":
            (y,) = numbers
        if command != "Z":
            found[-1].append((x, y))
    return found


def inside(point: Point, corners: list[list[Point]]) -> bool:
    """Whether the even-odd rule fills the point: a ray to the right crosses the outline an odd number of times."""
    px, py = point
    crossings = 0
    for polygon in corners:
        for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
            if (y0 > py) != (y1 > py) and px < x0 + (py - y0) * (x1 - x0) / (y1 - y0):
                crossings += 1
    return crossings % 2 == 1


@settings(max_examples=300, deadline=None)
@given(st.one_of(spans(), staircases()))
def test_outline_encloses_the_bytes_in_use_and_no_others(found: list[tuple[int, int, int, int]]) -> None:
    b = buffer_of(found)
    corners = polygons(outline.path(b, float, float))
    used = used_cells(b)
    for tick in range(TIME):
        for address in range(b.offset + BYTES):
            assert inside((tick + 0.5, address + 0.5), corners) == ((tick, address) in used)


@settings(max_examples=200, deadline=None)
@given(staircases())
def test_a_staircase_whose_rows_overlap_in_time_is_one_outline(found: list[tuple[int, int, int, int]]) -> None:
    assert len(polygons(outline.path(buffer_of(found), float, float))) == 1


@settings(max_examples=200, deadline=None)
@given(st.one_of(spans(), staircases()))
def test_labels_get_room_inside_the_shape(found: list[tuple[int, int, int, int]]) -> None:
    b = buffer_of(found)
    left, top, wide, tall = outline.widest_box(b, float, lambda address: 100.0 - address)
    cells = {(t, 100 - y - 1) for t in range(int(left), int(left + wide)) for y in range(int(top), int(top + tall))}
    assert cells <= used_cells(b)
    assert bool(cells) == bool(used_cells(b))


def segments(*ticks: int) -> tuple[SegmentReport, ...]:
    found, now = [], 0
    for n in ticks:
        found.append(SegmentReport("s", "stream" if n > 48 else "layer", now, now + n, 3 if n > 48 else 1, 0))
        now += n
    return tuple(found)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=80))
def test_time_axis_squeezes_nothing(ticks: list[int]) -> None:
    found = segments(*ticks)
    axis = timeline(found, 70, 920, 2600)
    widths = [axis(s.upper) - axis(s.lower) for s in found]
    assert axis(0) == 70 and 920 - 1e-6 <= sum(widths) <= 2600 + 1e-6
    assert min(widths) >= 920 / 80 / 4, "also the shortest of 80 layers can be seen"
    assert max(widths) <= 30 * min(widths), "though one has 5000 times the ticks of another"
    end = found[-1].upper
    places = [axis(t * end / 500) for t in range(501)]
    assert all(a < b for a, b in pairwise(places))
    for s in found:
        assert axis((s.lower + s.upper) / 2) == pytest.approx((axis(s.lower) + axis(s.upper)) / 2)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_every_tick_is_found_in_its_segment(ticks: list[int]) -> None:
    found = segments(*ticks)
    for tick in range(found[-1].upper):
        s = found[segment_at(found, tick)]
        assert s.lower <= tick < s.upper


def test_ticks_of_reports_without_segments_are_layers() -> None:
    r = sample.report()
    assert [(s.name, s.lower, s.upper) for s in segments_of(r)] == [
        (x.name, i, i + 1) for i, x in enumerate(r.layers)]
    assert alive(r.memory_map[1], segments_of(r)) == "layer 0 (conv_1) to layer 1 (dw_1)"


def shapes(report: Report) -> dict[str, ET.Element]:
    """The drawn shape of each buffer by the text that the pointer shows."""
    found = {}
    for group in ET.fromstring(memory_svg(report)).iter(f"{SVG}g"):
        title, shape = group.find(f"{SVG}title"), next(
            (e for e in group if "buffer" in e.get("class", "").split()), None)
        if shape is not None:
            assert title is not None and title.text is not None and title.text not in found
            found[title.text] = shape
    return found


def extent(shape: ET.Element) -> tuple[float, float, float, float]:
    """Left, right, top, bottom."""
    if shape.tag == f"{SVG}rect":
        x, y, wide, tall = (float(shape.get(k, "")) for k in ("x", "y", "width", "height"))
        return x, x + wide, y, y + tall
    points = [p for polygon in polygons(shape.get("d", "")) for p in polygon]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), max(xs), min(ys), max(ys)


def test_150_buffers_are_drawn_each_as_one_shape_where_and_when_it_is() -> None:
    r = sample.crowded()
    assert len(r.memory_map) == 150
    found = shapes(r)
    assert len(found) == 150
    axis = timeline(r.segments, 70, 920, 2600)
    known = segments_of(r)
    bottoms = []
    for b in r.memory_map:
        tip = (f"{b.name} ({b.kind}): {words.size(b.size)} at {b.offset:,}, {alive(b, known)}"
               f"{', row by row' if b.spans else ''}")
        shape = found[tip]
        assert shape.tag == (f"{SVG}path" if b.spans else f"{SVG}rect")
        assert f"k{palette.KINDS.index(b.kind)}" in shape.get("class", "").split()
        left, right, _, bottom = extent(shape)
        assert left == pytest.approx(axis(b.lower), abs=0.06) and right == pytest.approx(axis(b.upper), abs=0.06)
        bottoms.append((b.offset, bottom))
    low, high = min(bottoms), max(bottoms)
    for offset, bottom in bottoms:
        wanted = low[1] + (high[1] - low[1]) * (offset - low[0]) / (high[0] - low[0])
        assert bottom == pytest.approx(wanted, abs=0.2), "address to scale"


def test_sample_of_150_buffers_is_a_possible_plan() -> None:
    """No two buffers use a byte at the same time."""
    r = sample.crowded()
    pieces = [(lower, upper, b.offset + start, b.offset + end) for b in r.memory_map
              for lower, upper, start, end in b.spans or [(b.lower, b.upper, 0, b.size)]]
    pieces.sort()
    active: list[tuple[int, int, int, int]] = []
    for p in pieces:
        active = [a for a in active if a[1] > p[0]]
        assert not [a for a in active if a[2] < p[3] and p[2] < a[3]]
        active.append(p)


def test_labels_of_150_buffers_lie_inside_the_picture_and_apart_from_each_other() -> None:
    root = ET.fromstring(memory_svg(sample.crowded()))
    ticks = sorted((float(e.get("x", "")), len(e.text or "")) for e in root.iter(f"{SVG}text")
                   if e.get("class") == "tick" and re.fullmatch(r"[\d–]+", e.text or ""))
    assert len(ticks) > 40
    for (x0, n0), (x1, n1) in pairwise(ticks):
        assert x1 - x0 >= 6 * (n0 + n1) / 2, "layer numbers do not run into each other"
    boxes = []
    for e in root.iter(f"{SVG}text"):
        if e.get("class") == "inside":
            x, y, half = float(e.get("x", "")), float(e.get("y", "")), 3.3 * len(e.text or "")
            turned = e.get("transform") is not None
            boxes.append((x - 10, x + 2, y - half, y + half) if turned else (x - half, x + half, y - 10, y + 2))
    assert len(boxes) >= 40, "the larger buffers are named"
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2], (a, b)


def test_streams_are_shaded_and_bracketed() -> None:
    r = sample.crowded()
    streams = [s for s in r.segments if s.kind == "stream"]
    root = ET.fromstring(memory_svg(r))
    axis = timeline(r.segments, 70, 920, 2600)
    bands = [e for e in root.iter(f"{SVG}rect") if e.get("class", "").startswith("band")]
    brackets = [e for e in root.iter(f"{SVG}path") if e.get("class") == "bracket"]
    assert len(streams) == len(bands) == len(brackets) == 3
    for s, band in zip(streams, bands, strict=True):
        left, right, _, _ = extent(band)
        assert left == pytest.approx(axis(s.lower), abs=0.01) and right == pytest.approx(axis(s.upper), abs=0.01)
    text = " ".join(root.itertext())
    assert "stream of layers 30 to 43" in text and "14 layers, 8 columns" in text and "14 layers, whole rows" in text
    assert not [e for e in ET.fromstring(memory_svg(sample.report())).iter(f"{SVG}path")
                if e.get("class") == "bracket"]


@pytest.mark.parametrize("report", [
    sample.report(), sample.crowded(), hostile(), hostile("]]></style></svg><script>x</script>&lt;"),
    replace(sample.report(), memory_map=()), hostile("\ud800 \x00 \ufffe" + "x" * 100_000)])
def test_svg_file_is_xml_that_stands_alone(report: Report) -> None:
    text = memory_svg(report)
    text.encode("utf-8")
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg" and float(root.get("width", "")) > 0
    kinds = {e.tag.removeprefix(SVG) for e in root.iter()}
    assert kinds <= {"svg", "title", "desc", "style", "g", "rect", "path", "line", "text"}
    assert not [k for e in root.iter() for k in e.attrib if k.startswith("on") or "href" in k]
    assert not re.search(r"url\(|@import|var\(|<script", text)
    assert set(re.findall(r"https?://[^\"' <]*", text)) == {"http://www.w3.org/2000/svg"}


def test_svg_file_has_a_colour_for_every_class_in_light_and_dark() -> None:
    root = ET.fromstring(memory_svg(sample.crowded()))
    style = next(root.iter(f"{SVG}style")).text or ""
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for kind in range(palette.OTHER + 1):
        for rules, which in ((light, 0), (dark, 1)):
            fill, line = palette.COLOURS[f"k{kind}"][which], palette.COLOURS[f"e{kind}"][which]
            assert f".k{kind} {{ fill: {fill}; stroke: {line}; }}" in rules
    used = {c for e in root.iter() for c in e.get("class", "").split()} - {"inside", "label"}
    assert all(re.search(rf"\.{c}\b", light) for c in used), used
    legend = [e.text for e in root.iter(f"{SVG}text") if e.get("class") == "label"]
    assert legend == ["input", "output", "activation", "line", "scratch", "sums", "counters"]


def test_pictures_are_the_same_for_the_same_report() -> None:
    assert memory_svg(sample.crowded()) == memory_svg(sample.crowded())
    assert memory_map(sample.crowded()) == memory_map(sample.crowded())


def test_table_says_when_every_buffer_is_alive() -> None:
    r = sample.crowded()
    page = Page(to_html(r)).text
    rows = re.sub(r"\s+", " ", page[page.index("First tick"):page.index("Streams")])
    for b in r.memory_map:
        where = alive(b, r.segments) + (", row by row" if b.spans else "")
        row = f"{b.name}{b.kind}{where}{b.lower:,}{b.upper - 1:,}{b.offset:,}{b.size:,}"
        assert row in rows


def test_streams_say_what_they_save_and_cost() -> None:
    r = sample.crowded()
    s = next(x for x in r.segments if x.kind == "stream")
    s = replace(s, live=10_000, live_alone=42_768, weight_bytes=1000, weight_bytes_read=56_000, extra_macs=0,
                weight_bytes_read_alone=1000, line_bytes=2048, whole_bytes=300_000, columns=8, passes=60)
    for extra, wanted in ((0, "no MAC computed twice"), (1, "1 MAC computed again"), (7, "7 MACs computed again")):
        shown = replace(r, segments=(replace(s, lower=0, upper=r.segments[-1].upper, extra_macs=extra),))
        for text in (Page(to_html(shown)).text, re.sub(r"\s+", " ", terminal(shown, 400))):
            assert "14 layers, 8 columns at a time, 60 passes" in text
            assert "lines 2,048 bytes (2 KB) instead of whole tensors of 300,000 bytes" in text
            assert "10,000 bytes (9.8 KB) alive, 42,768 bytes (41.8 KB) with its layers alone: saves 32,768" in text
            assert "kernels start on 1,000 bytes of weights 56 times, once with its layers alone" in text
            assert wanted in text


def test_a_stream_that_saves_nothing_says_so() -> None:
    s = SegmentReport("a ... b", "stream", 0, 13, 13, 500, live_alone=400, passes=9, pushed="image")
    r = replace(sample.report(), segments=(s,))
    assert "saves nothing, 100 bytes more" in terminal(r, 400)
    assert "whole rows, 9 passes, rows of the input image as they arrive" in terminal(r, 400)
    even = replace(r, segments=(replace(s, live=400),))
    assert "saves nothing; no weights" in terminal(even, 400)


def test_reports_say_that_there_is_no_stream_but_older_ones_say_nothing() -> None:
    r = sample.report()
    assert "stream" not in terminal(r) and "h-streams" not in to_html(r)
    plain = replace(r, segments=tuple(
        SegmentReport(x.name, "layer", i, i + 1, 1, x.sram_live) for i, x in enumerate(r.layers)))
    assert "none, every layer runs alone" in terminal(plain)
    assert "No stream: every layer runs alone." in to_html(plain)
