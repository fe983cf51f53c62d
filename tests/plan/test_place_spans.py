"""Buffers with spans: placements are valid, as low as an exhaustive search finds, and the same every time."""

from __future__ import annotations

import random
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcuc.errors import McucError
from mcuc.plan import _blocks, _disjunctive, _local, _native_blocks
from mcuc.plan._local import NEVER
from mcuc.plan._problem import parts
from mcuc.plan._staircase import starts
from mcuc.plan.csvio import read_csv, write_csv
from mcuc.plan.place import Buffer, Span, lower_bound, place, place_with_io
from mcuc.plan.validate import validate


@st.composite
def span_lists(draw: st.DrawFn, most: int, aligns: tuple[int, ...] = (4,), largest: int = 40) -> list[Buffer]:
    """Buffers with up to three spans anywhere inside, which may overlap each other or be empty."""
    buffers = []
    for index in range(draw(st.integers(1, most))):
        lower = draw(st.integers(0, 5))
        upper = lower + draw(st.integers(0, 5))
        size = draw(st.integers(0, largest))
        spans = []
        for _ in range(draw(st.integers(0, 3))):
            first, last = sorted((draw(st.integers(lower, upper)), draw(st.integers(lower, upper))))
            start, end = sorted((draw(st.integers(0, size)), draw(st.integers(0, size))))
            spans.append(Span(first, last, start, end))
        buffers.append(Buffer(f"b{index}", lower, upper, size, draw(st.sampled_from(aligns)), tuple(spans)))
    return buffers


def rows(name: str, row_bytes: int, written: list[int], read: list[int]) -> Buffer:
    """A tensor whose row r is in use from step written[r] to step read[r]."""
    spans = [
        Span(lower, upper, r * row_bytes, (r + 1) * row_bytes)
        for r, (lower, upper) in enumerate(zip(written, read, strict=True))
    ]
    return Buffer(name, min(written), max(read), len(spans) * row_bytes, 4, tuple(spans))


def layer_chain(seed: int, layers: int) -> list[Buffer]:
    """A network run row by row, each layer with rows of its own width: every tensor grows, and dies as it is read."""
    source = random.Random(seed)
    height = source.choice([16, 32])
    written, row_bytes, step = [0] * height, source.choice([48, 96, 320]), 0
    buffers = []
    for layer in range(layers):
        stride, reach = source.choice([1, 1, 2]) if height > 4 else 1, source.choice([0, 1])
        out_height = -(-height // stride)
        out_written = [step + 1 + y for y in range(out_height)]
        read = [0] * height
        for y, at in enumerate(out_written):
            for r in range(max(0, y * stride - reach), min(height, y * stride + reach + 1)):
                read[r] = at + 1
        keep = step + out_height + source.choice([1, 1, 1, 40])  # now and then a residual connection holds it
        read = [max(r, w + 1, keep if keep > step + out_height + 1 else 0) for r, w in zip(read, written, strict=True)]
        buffers.append(rows(f"t{layer}", row_bytes, written, read))
        if source.random() < 0.3:
            buffers.append(Buffer(f"scratch{layer}", step + 1, step + out_height + 1, source.randrange(64, 4096)))
        step, height, written = step + out_height, out_height, out_written
        row_bytes = source.choice([48, 96, 128, 320, 512])
    buffers.append(rows("output", row_bytes, written, [step + 2] * height))
    return buffers


def bytes_in_use(b: Buffer, step: int) -> set[int]:
    if not b.lower <= step < b.upper:
        return set()
    if not b.spans:
        return set(range(b.size))
    return {byte for s in b.spans if s.lower <= step < s.upper for byte in range(s.start, s.end)}


def exhaustive(buffers: list[Buffer], unit: int, io_ids: frozenset[str] = frozenset()) -> tuple[int, int]:
    """The lowest (peak, work) over all offsets, by sets of bytes at every step. Sizes count as multiples of unit."""
    used = [b for b in buffers if b.size and b.lower < b.upper]
    steps = range(max((b.upper for b in used), default=0))
    taken = {b.id: [bytes_in_use(b, t) for t in steps] for b in used}
    ends = {b.id: -(-b.size // unit) * unit for b in used}
    best = (sum(ends.values()) + 16 * len(used),) * 2

    def try_from(index: int, occupied: list[set[int]], peak: int, work: int) -> None:
        nonlocal best
        if (peak, work) >= best:
            return
        if index == len(used):
            best = (peak, work)
            return
        b = used[index]
        for offset in range(0, best[0] - ends[b.id] + 1, b.align):
            mine = [{byte + offset for byte in at} for at in taken[b.id]]
            if all(not (a & m) for a, m in zip(occupied, mine, strict=True)):
                end = offset + ends[b.id]
                both = [a | m for a, m in zip(occupied, mine, strict=True)]
                try_from(index + 1, both, max(peak, end), work if b.id in io_ids else max(work, end))

    try_from(0, [set() for _ in steps], 0, 0)
    return best if used else (0, 0)


@given(span_lists(12, aligns=(4, 4, 16)), st.booleans())
@settings(max_examples=200, deadline=None)
def test_placements_are_valid_and_not_below_the_bound(buffers: list[Buffer], fast: bool) -> None:
    placement = place(buffers, fast=fast)
    validate(buffers, placement.offsets, placement.peak)
    assert placement.peak >= placement.lower_bound >= lower_bound(buffers)
    assert placement.optimal == (placement.peak == placement.lower_bound)
    in_use = max((sum(len(bytes_in_use(b, t)) for b in buffers) for t in range(11)), default=0)
    assert lower_bound(buffers) >= in_use


@given(span_lists(4, largest=14), span_lists(4, aligns=(4, 8), largest=14), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_peak_and_work_equal_the_exhaustive_search(plain: list[Buffer], mixed: list[Buffer], io_count: int) -> None:
    for buffers in (plain, mixed):
        unit = min(b.align for b in buffers)
        io_ids = frozenset(b.id for b in buffers[:io_count])
        placement, work = place_with_io(buffers, io_ids)
        validate(buffers, placement.offsets, placement.peak)
        assert placement.optimal and work == placement.work_lower_bound
        assert (placement.peak, work) == exhaustive(buffers, unit, io_ids)


def test_an_output_slides_under_the_rows_of_its_input_that_have_died() -> None:
    """16 rows of 100 bytes become 16 rows of 100; row y is written while row y is read, so one row is needed more."""
    source = rows("in", 100, [0] * 16, [y + 2 for y in range(16)])
    result = rows("out", 100, [y + 1 for y in range(16)], [20] * 16)
    placement = place([source, result])
    validate([source, result], placement.offsets, placement.peak)
    assert placement.peak == 1700 and placement.optimal
    assert placement.offsets == {"in": 100, "out": 0}


def test_line_buffers_lie_below_an_input_and_grow_into_its_dead_rows() -> None:
    image = rows("image", 64, [0] * 32, [2 + y for y in range(32)])
    early = Buffer("early", 1, 12, 256)
    late = [Buffer(f"late{k}", 16 + k, 33, 64) for k in range(12)]
    buffers = [image, early, *late]
    placement, work = place_with_io(buffers, {"image"})
    validate(buffers, placement.offsets, placement.peak)
    assert placement.peak == lower_bound(buffers) == 32 * 64 + 256 and placement.optimal
    assert placement.offsets["image"] == 256
    assert work == 12 * 64


@pytest.mark.parametrize("seed", range(12))
def test_layers_run_row_by_row_are_proven(seed: int) -> None:
    buffers = layer_chain(seed, layers=12)
    placement, work = place_with_io(buffers, {"t0", "output"})
    validate(buffers, placement.offsets, placement.peak)
    assert placement.optimal
    assert placement.work_lower_bound <= work <= placement.peak
    fast, _ = place_with_io(buffers, {"t0", "output"}, fast=True)
    validate(buffers, fast.offsets, fast.peak)
    assert fast.peak >= placement.peak and fast.lower_bound <= placement.lower_bound
    whole = place([Buffer(b.id, b.lower, b.upper, b.size) for b in buffers])
    assert placement.peak <= whole.peak


def test_spans_are_worth_a_lot_on_chains() -> None:
    ratio = []
    for seed in range(12):
        buffers = layer_chain(seed, layers=8)
        whole = [Buffer(b.id, b.lower, b.upper, b.size) for b in buffers]
        ratio.append(place(buffers).peak / place(whole).peak)
    assert min(ratio) < 0.7 and sum(ratio) / len(ratio) < 0.9


def test_a_large_problem_is_placed_the_same_in_any_order() -> None:
    buffers = layer_chain(5, layers=60)
    shuffled = buffers.copy()
    random.Random(2).shuffle(shuffled)
    first = place_with_io(buffers, {"t0", "output"})
    validate(buffers, first[0].offsets, first[0].peak)
    assert place_with_io(shuffled, {"t0", "output"}) == first


def test_a_spent_time_limit_keeps_a_valid_plan_and_an_honest_bound() -> None:
    buffers = layer_chain(3, layers=20)
    cut = place(buffers, time_limit_s=0.0)
    validate(buffers, cut.offsets, cut.peak)
    assert lower_bound(buffers) <= cut.lower_bound <= cut.peak
    assert cut.optimal == (cut.peak == cut.lower_bound)


def test_spans_that_are_the_whole_buffer_change_nothing() -> None:
    source = random.Random(4)
    plain = [Buffer(f"b{i}", i // 2, i // 2 + source.randrange(1, 6), 4 * source.randrange(1, 99)) for i in range(20)]
    spanned = [Buffer(b.id, b.lower, b.upper, b.size, 4, (Span(b.lower, b.upper, 0, b.size),)) for b in plain]
    assert lower_bound(plain) == lower_bound(spanned)
    a, b = place(plain), place(spanned)
    assert a.optimal and b.optimal and a.peak == b.peak
    validate(plain, b.offsets, b.peak)


@pytest.mark.parametrize(
    "span",
    [Span(-1, 2, 0, 4), Span(0, 5, 0, 4), Span(2, 1, 0, 4), Span(0, 2, -4, 4), Span(0, 2, 0, 12), Span(0, 2, 8, 4)],
)
def test_a_span_outside_its_buffer_is_refused(span: Span) -> None:
    for function in (place, lower_bound):
        with pytest.raises(McucError) as caught:
            function([Buffer("a", 0, 4, 8, 4, (span,))])
        assert caught.value.code == "invalid-buffer" and "'a'" in caught.value.found


@given(span_lists(10, aligns=(4, 4, 16)), st.integers(0, 300), st.integers(0, 60), st.integers(1, 2000))
@settings(max_examples=150, deadline=None)
def test_compiled_code_makes_the_same_placements(buffers: list[Buffer], rounds: int, cut: int, revisions: int) -> None:
    library, exact = _native_blocks.load(), _native_blocks.load_disjunctive()
    if library is None or exact is None:
        pytest.skip("no C compiler for the native search")
    deadline = time.monotonic() + 60
    for part in parts(buffers, frozenset({"b0", "b3", "b4"})):
        shape = _blocks.spans_of(part)
        pairs = _blocks.clearances(*shape, part.step)
        assert _native_blocks.clearances(library, *shape, part.step) == pairs
        found = _blocks.blocks(part, pairs)
        nothing = ([0] * found.count, NEVER)
        arguments = (found, NEVER, part.bound, part.step, starts(part), rounds, deadline, nothing)
        first = _local.improve(*arguments)
        assert _native_blocks.improve_compiled(library, *arguments) == first
        work = (found, first[1], part.capped_bound, part.step, starts(part), rounds, deadline, nothing)
        assert _native_blocks.improve_compiled(library, *work) == _local.improve(*work)
        limits = (found, first[1] - 4 * (cut % 4), first[1] - 4 * (cut % 9), revisions, deadline)
        assert _native_blocks.decide_compiled(exact, *limits) == _disjunctive.decide(*limits)


def test_search_without_a_compiler_gives_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers = layer_chain(1, layers=6)
    native = place_with_io(buffers, {"t0", "output"}, time_limit_s=120)
    monkeypatch.setattr(_native_blocks, "load", lambda: None)
    monkeypatch.setattr(_native_blocks, "load_disjunctive", lambda: None)
    assert place_with_io(buffers, {"t0", "output"}, time_limit_s=120) == native


def test_more_clearances_than_the_first_guess_has_room_for() -> None:
    library = _native_blocks.load()
    if library is None:
        pytest.skip("no C compiler for the native search")
    comb = tuple(Span(0, 1, 16 * k, 16 * k + 4) for k in range(20))
    (part,) = parts([Buffer("a", 0, 1, 320, 4, comb), Buffer("b", 0, 1, 320, 4, comb)])
    shape = _blocks.spans_of(part)
    pairs = _native_blocks.clearances(library, *shape, part.step)
    assert pairs == _blocks.clearances(*shape, part.step) and isinstance(pairs, array)
    assert len(pairs) == 4 * 39
    placement = place([Buffer("a", 0, 1, 320, 4, comb), Buffer("b", 0, 1, 320, 4, comb)])
    assert placement.peak == 324


def test_csv_round_trip_keeps_spans(tmp_path: Path) -> None:
    buffers = [*layer_chain(2, layers=2), Buffer("plain", 0, 3, 8)]
    write_csv(tmp_path / "plan.csv", buffers, place(buffers).offsets)
    assert (tmp_path / "plan.csv").read_text().splitlines()[0] == "id,lower,upper,size,offset,spans"
    assert read_csv(tmp_path / "plan.csv", align=4) == buffers
    (tmp_path / "bad.csv").write_text("id,lower,upper,size,spans\na,0,2,8,0:1:4\n")
    with pytest.raises(McucError, match="buffer 1"):
        read_csv(tmp_path / "bad.csv")
