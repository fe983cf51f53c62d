"""The validator looks at every pair of spans: it agrees with sets of bytes, and refuses planted faults by name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcuc.errors import McucError
from mcuc.plan.place import Buffer, Span
from mcuc.plan.validate import validate

# Rows of 8 bytes: `dying` is read from the top, `growing` is written from the top one step later.
DYING = Buffer("dying", 0, 6, 32, 4, tuple(Span(0, 3 + r, 8 * r, 8 * r + 8) for r in range(4)))
GROWING = Buffer("growing", 3, 9, 32, 4, tuple(Span(3 + r, 9, 8 * r, 8 * r + 8) for r in range(4)))
PLAIN = Buffer("plain", 7, 9, 12)
BOTH = [DYING, GROWING, PLAIN]
GOOD = {"dying": 8, "growing": 0, "plain": 32}


def refused(buffers: list[Buffer], offsets: dict[str, int], capacity: int | None = None) -> str:
    with pytest.raises(McucError) as caught:
        validate(buffers, offsets, capacity)
    assert caught.value.code == "invalid-plan"
    return caught.value.found


def test_buffers_may_overlap_where_they_are_not_in_use() -> None:
    validate(BOTH, GOOD, capacity=44)
    validate(BOTH, {**GOOD, "dying": 0})
    validate([DYING, Buffer("late", 5, 6, 16)], {"dying": 0, "late": 0})


@pytest.mark.parametrize("offsets", [{"dying": 0, "growing": 8}, {"dying": 12, "growing": 20}])
def test_overlap_of_two_spans_names_both(offsets: dict[str, int]) -> None:
    found = refused([DYING, GROWING], offsets)
    assert "'dying'" in found and "'growing'" in found and "while both are live, steps " in found


@pytest.mark.parametrize("offset", [20, 28])
def test_overlap_of_a_span_and_a_whole_buffer_names_both(offset: int) -> None:
    found = refused(BOTH, {**GOOD, "plain": offset})
    assert "'growing'" in found and "'plain'" in found and "steps 7 to 9" in found


@pytest.mark.parametrize(("start", "step"), [(24, 5), (16, 4)])
def test_one_row_that_is_still_in_use_is_enough(start: int, step: int) -> None:
    found = refused([DYING, Buffer("late", step, step + 1, 8)], {"dying": 0, "late": start})
    assert f"(bytes {start} to {start + 8})" in found


@pytest.mark.parametrize("span", [Span(-1, 2, 0, 4), Span(3, 7, 0, 4)])
def test_a_span_beyond_the_lifetime(span: Span) -> None:
    assert "'m' is malformed: its span" in refused([Buffer("m", 0, 6, 8, 4, (span,))], {"m": 0})


@pytest.mark.parametrize("span", [Span(0, 2, -4, 4), Span(0, 2, 4, 12)])
def test_a_span_beyond_the_bytes(span: Span) -> None:
    assert "'m' is malformed: its span" in refused([Buffer("m", 0, 6, 8, 4, (span,))], {"m": 0})


@pytest.mark.parametrize("span", [Span(2, 1, 0, 4), Span(0, 2, 4, 0)])
def test_a_span_that_is_the_wrong_way_round(span: Span) -> None:
    assert "'m' is malformed: its span" in refused([Buffer("m", 0, 6, 8, 4, (span,))], {"m": 0})


@pytest.mark.parametrize("capacity", [39, 12])
def test_the_end_counts_although_its_bytes_are_not_in_use_yet(capacity: int) -> None:
    assert f"beyond the capacity of {capacity}" in refused([DYING, GROWING], {"dying": 8, "growing": 0}, capacity)


@pytest.mark.parametrize("name", ["dying", "growing"])
def test_misalignment(name: str) -> None:
    assert f"{name!r} at offset 70 is not aligned to 4" in refused(BOTH, {**GOOD, name: 70})


@pytest.mark.parametrize("name", ["dying", "growing"])
def test_missing_offset(name: str) -> None:
    assert f"{name!r} has no offset" in refused(BOTH, {n: o for n, o in GOOD.items() if n != name})


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Buffer], dict[str, int]]:
    buffers, offsets = [], {}
    for index in range(draw(st.integers(2, 4))):
        lower, size = draw(st.integers(0, 3)), draw(st.integers(0, 12))
        upper = lower + draw(st.integers(0, 4))
        spans = []
        for _ in range(draw(st.integers(0, 3))):
            first, last = sorted((draw(st.integers(lower, upper)), draw(st.integers(lower, upper))))
            start, end = sorted((draw(st.integers(0, size)), draw(st.integers(0, size))))
            spans.append(Span(first, last, start, end))
        buffers.append(Buffer(f"b{index}", lower, upper, size, 1, tuple(spans)))
        offsets[f"b{index}"] = draw(st.integers(0, 16))
    return buffers, offsets


def collide(buffers: list[Buffer], offsets: dict[str, int]) -> bool:
    """Is one byte of the arena in use by two buffers at one step?"""
    for step in range(8):
        taken: set[int] = set()
        for b in buffers:
            spans = b.spans or (Span(b.lower, b.upper, 0, b.size),)
            mine = {offsets[b.id] + k for s in spans if s.lower <= step < s.upper for k in range(s.start, s.end)}
            if taken & mine:
                return True
            taken |= mine
    return False


@given(plans())
@settings(max_examples=500, deadline=None)
def test_it_refuses_exactly_the_plans_in_which_a_byte_has_two_users(plan: tuple[list[Buffer], dict[str, int]]) -> None:
    buffers, offsets = plan
    if collide(buffers, offsets):
        assert "overlap" in refused(buffers, offsets)
    else:
        validate(buffers, offsets)
