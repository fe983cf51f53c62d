"""Buffers over several RAM regions: every assignment is valid, pins hold, hot buffers get the fast memory."""

from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcuc.errors import McucError
from mcuc.plan.place import Buffer, Span, place, place_with_io
from mcuc.plan.regions import Assignment, Region, assign
from mcuc.plan.validate import validate

CHECKED = settings(deadline=None, derandomize=True, database=None, max_examples=150)
NAMES = ("fast", "middle", "slow")


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Buffer], dict[str, int], list[Region]]:
    """Buffers, some with spans, their traffic, and one to three regions of any sizes."""
    buffers = []
    for i in range(draw(st.integers(1, 9))):
        lower, size = draw(st.integers(0, 6)), draw(st.integers(1, 40))
        upper = lower + draw(st.integers(1, 5))
        spans: tuple[Span, ...] = ()
        if size > 1 and upper - lower > 1 and draw(st.booleans()):  # the first half dies earlier
            spans = (Span(lower, lower + 1, 0, size), Span(lower + 1, upper, size // 2, size))
        buffers.append(Buffer(f"b{i}", lower, upper, size, 4, spans))
    traffic = {b.id: draw(st.integers(0, 1000)) for b in buffers}
    count = draw(st.integers(1, 3))
    regions = [Region(NAMES[i], draw(st.integers(0, 160)), float(i + 1)) for i in range(count)]
    return buffers, traffic, regions


def assert_valid(
    found: Assignment, buffers: list[Buffer], traffic: dict[str, int], regions: list[Region], io: frozenset[str]
) -> None:
    sizes, costs = {r.name: r.size for r in regions}, {r.name: r.cost for r in regions}
    assert set(found.region) == {b.id for b in buffers}
    assert set(found.placements) == set(found.region.values()) == set(found.work)
    for name, placement in found.placements.items():
        held = [b for b in buffers if found.region[b.id] == name]
        validate(held, placement.offsets, sizes[name])
        ends = [placement.offsets[b.id] + b.size for b in held if b.id not in io]
        assert max(ends, default=0) <= found.work[name] <= placement.peak <= sizes[name]
    assert found.cost == sum(traffic[b.id] * costs[found.region[b.id]] for b in buffers)


@CHECKED
@given(problems(), st.data())
def test_every_assignment_is_valid_keeps_its_pins_and_is_the_same_again(
    problem: tuple[list[Buffer], dict[str, int], list[Region]], data: st.DataObject
) -> None:
    buffers, traffic, regions = problem
    names = [r.name for r in regions]
    ids = [b.id for b in buffers]
    last = frozenset(names[-1:])
    pinned = dict.fromkeys(data.draw(st.sets(st.sampled_from(ids), max_size=2)), last)
    together = [frozenset(data.draw(st.sets(st.sampled_from(ids), min_size=1, max_size=3)))]
    io = frozenset(data.draw(st.sets(st.sampled_from(ids), max_size=3)))
    try:
        found = assign(buffers, traffic, regions, pinned, together=together, io=io)
    except McucError as error:
        assert error.code == "over-budget"
        return
    assert_valid(found, buffers, traffic, regions, io)
    assert all(found.region[i] in allowed for i, allowed in pinned.items())
    assert len({found.region[i] for i in together[0]}) == 1
    assert assign(buffers, traffic, regions, pinned, together=together, io=io) == found


def cheapest(buffers: list[Buffer], traffic: dict[str, int], regions: list[Region]) -> float | None:
    """The cost of the best of all assignments, each region placed exactly; None where none fits."""
    best: float | None = None
    for choice in product(regions, repeat=len(buffers)):
        cost = sum(traffic[b.id] * r.cost for b, r in zip(buffers, choice, strict=True))
        if best is not None and cost >= best:
            continue
        held = {r.name: [b for b, c in zip(buffers, choice, strict=True) if c is r] for r in regions}
        if all(place(held[r.name]).peak <= r.size for r in regions):
            best = cost
    return best


@pytest.mark.parametrize("seed", range(40))
def test_tight_memory_is_filled_where_it_can_be_at_most_a_tenth_above_the_lowest_cost(seed: int) -> None:
    source = random.Random(seed)
    buffers = []
    for i in range(source.randint(2, 7)):
        lower = source.randint(0, 6)
        buffers.append(Buffer(f"b{i}", lower, lower + source.randint(1, 5), source.randint(1, 40)))
    traffic = {b.id: source.randint(0, 1000) for b in buffers}
    peak = place(buffers).peak
    regions = [Region("fast", source.randint(0, peak)), Region("slow", source.randint(peak // 3, peak), 3.0)]
    best = cheapest(buffers, traffic, regions)
    if best is None:
        with pytest.raises(McucError, match="found no room"):
            assign(buffers, traffic, regions)
    else:
        found = assign(buffers, traffic, regions)
        assert_valid(found, buffers, traffic, regions, frozenset())
        assert best <= found.cost <= 1.1 * best


@CHECKED
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=12), st.lists(st.integers(0, 4), min_size=1, max_size=2))
def test_among_equal_buffers_the_hottest_get_the_fastest_memory(heat: list[int], places: list[int]) -> None:
    """All alive at once and of one size: the best assignment sorts them by traffic."""
    buffers = [Buffer(f"b{i}", 0, 1, 16) for i in range(len(heat))]
    traffic = {b.id: n for b, n in zip(buffers, heat, strict=True)}
    regions = [Region(NAMES[i], 16 * n, float(i + 1)) for i, n in enumerate(places)]
    regions.append(Region("slow", 16 * len(heat), 9.0))
    found = assign(buffers, traffic, regions)
    slots = [r.cost for r in regions for _ in range(r.size // 16)]
    assert found.cost == sum(n * c for n, c in zip(sorted(heat, reverse=True), slots, strict=False))


@CHECKED
@given(problems())
def test_all_buffers_go_to_the_cheapest_region_when_they_fit_there(
    problem: tuple[list[Buffer], dict[str, int], list[Region]],
) -> None:
    buffers, traffic, regions = problem
    peak = place(buffers).peak
    roomy = [Region(r.name, peak if i == 0 else r.size, r.cost) for i, r in enumerate(regions)]
    found = assign(buffers, traffic, roomy)
    assert set(found.region.values()) == {"fast"}


@settings(CHECKED, max_examples=50)
@given(problems(), st.data())
def test_one_region_is_a_plain_placement(
    problem: tuple[list[Buffer], dict[str, int], list[Region]], data: st.DataObject
) -> None:
    buffers, traffic, _ = problem
    io = frozenset(data.draw(st.sets(st.sampled_from([b.id for b in buffers]), max_size=3)))
    placement, work = place_with_io(buffers, io)
    found = assign(buffers, traffic, [Region("only", 1 << 20)], io=io)
    assert (found.placements["only"], found.work["only"]) == (placement, work)
    with pytest.raises(McucError, match="found no room in only"):
        assign(buffers, traffic, [Region("only", place(buffers).lower_bound - 1)], io=io)


@CHECKED
@given(problems(), st.integers(0, 200))
def test_a_limit_on_all_regions_together_is_kept_where_one_of_them_keeps_it(
    problem: tuple[list[Buffer], dict[str, int], list[Region]], most: int
) -> None:
    """What lies in different regions cannot share bytes over time; one region for all is the least."""
    buffers, traffic, regions = problem
    peak = place_with_io(buffers, frozenset())[0].peak
    regions = [*regions, Region("large", 1 << 20, 20.0)]
    free = assign(buffers, traffic, regions)
    limited = assign(buffers, traffic, regions, most=most)
    assert_valid(limited, buffers, traffic, regions, frozenset())
    assert limited.bytes <= max(most, peak)
    if free.bytes <= most:
        assert limited == free


def test_a_split_that_costs_too_many_bytes_is_taken_back_step_by_step() -> None:
    """Two chains of buffers that die one after the other: apart they take two peaks."""
    buffers = [Buffer(f"b{i}", i, i + 1, 100) for i in range(8)]
    traffic = {b.id: 800 - 100 * i for i, b in enumerate(buffers)}
    regions = [Region("fast", 100, 1.0, dma=False), Region("slow", 1000, 2.0)]
    pinned = {"b7": frozenset({"slow"})}
    assert assign(buffers, traffic, regions, pinned).bytes == 200
    limited = assign(buffers, traffic, regions, pinned, most=150)
    assert (limited.bytes, set(limited.region.values())) == (100, {"slow"})


def test_what_finds_no_room_is_named() -> None:
    buffers = [Buffer("small", 0, 2, 8), Buffer("large", 0, 2, 100)]
    regions = [Region("a", 50), Region("b", 60, 2.0)]
    with pytest.raises(McucError, match=r"'large' \(100 bytes\) found no room in a \(50 bytes\), b \(60 bytes\)"):
        assign(buffers, {}, regions)
    with pytest.raises(McucError, match=r"2 buffers of one stream, 'rows' the largest of them, \(48 bytes\)"):
        assign([Buffer("small", 0, 2, 8), Buffer("rows", 0, 2, 40)], {}, [Region("a", 40), Region("b", 40)],
               together=[frozenset({"small", "rows"})])


@pytest.mark.parametrize(
    ("regions", "pinned"),
    [
        ([], {}),
        ([Region("a", 64), Region("a", 64)], {}),
        ([Region("a", -1)], {}),
        ([Region("a", 64)], {"x": frozenset({"b"})}),
        ([Region("a", 64), Region("b", 64)], {"x": frozenset({"a"}), "y": frozenset({"b"})}),
    ],
)
def test_regions_and_pins_that_contradict_are_refused(
    regions: list[Region], pinned: dict[str, frozenset[str]]
) -> None:
    buffers = [Buffer("x", 0, 1, 8), Buffer("y", 0, 1, 8)]
    with pytest.raises(McucError) as caught:
        assign(buffers, {}, regions, pinned, together=[frozenset({"x", "y"})])
    assert caught.value.code == "invalid-region"
