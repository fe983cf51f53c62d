"""The executor on tagged memory refuses what is wrong, and what it accepts computes right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from example import network, schedules
from faults import moved, with_line, with_passes
from tagged import execute
from together import check_together

from mcuc.plan import Plan, plan
from mcuc.plan.regions import Region
from mcuc.schedule import Schedule, Segment, Stream
from mcuc.schedule.stream import make_stream, members_of, stream_segment

GRAPH = network()
SCHEDULES = schedules(GRAPH)
PLANS = {kind: plan(GRAPH, schedule, fast=True) for kind, schedule in SCHEDULES.items()}
STREAMS = [kind for kind in SCHEDULES if kind != "layers"]
SHIFTS = (-12, -8, -4, -3, -2, -1, 1, 2, 3, 4, 8, 12)


def refusal(schedule: Schedule, placed: Plan) -> str:
    """What the executor has to say in the first buffer mode that it refuses, nothing where it accepts both."""
    for outside in (False, True):
        try:
            execute(GRAPH, schedule, placed, outside)
        except AssertionError as error:
            return str(error)
    return ""


def stream_of(kind: str) -> Stream:
    return next(u.stream for u in SCHEDULES[kind].segments if isinstance(u, Segment) and u.stream is not None)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_example_s_schedules_of_every_kind_are_right(kind: str) -> None:
    assert refusal(SCHEDULES[kind], PLANS[kind]) == ""
    stream = None if kind == "layers" else stream_of(kind)
    assert (stream is not None and bool(stream.strips)) == kind.startswith("strips")
    assert (stream is not None and bool(stream.steps)) == kind.endswith("columns")
    assert (stream is not None and bool(stream.group)) == (kind == "groups")
    assert (stream is not None and stream.pushed is not None) == kind.startswith("rows in")


@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_example_s_schedules_over_two_regions_are_right(kind: str) -> None:
    """Two thirds of the arena in the fast memory; a buffer taken for one of the other memory is noticed."""
    regions = [Region("fast", PLANS[kind].arena * 2 // 3 & ~3), Region("slow", 1 << 16, cost=3.0)]
    placed = plan(GRAPH, SCHEDULES[kind], fast=True, regions=regions)
    assert placed.several and [a.name for a in placed.arenas] == ["fast", "slow"]
    assert refusal(SCHEDULES[kind], placed) == ""
    other = replace(placed, region={b: 1 - number for b, number in placed.region.items()})
    assert refusal(SCHEDULES[kind], other)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_buffer_a_few_bytes_from_its_place_is_noticed(kind: str) -> None:
    """Not every shift is a fault, some go where nobody is; but in a dense arena most are."""
    found = {(b.id, d): refusal(SCHEDULES[kind], moved(PLANS[kind], b.id, d)) for b in PLANS[kind].buffers
             for d in SHIFTS}
    refused = {key: words for key, words in found.items() if words}
    assert len(refused) > len(found) // 2
    for words in refused.values():
        overwritten = " lies there" in words or "nothing was ever written there" in words
        assert overwritten or " beyond " in words, words


@pytest.mark.parametrize("kind", STREAMS)
def test_what_a_stream_keeps_for_itself_is_not_where_its_counters_are(kind: str) -> None:
    placed = PLANS[kind]
    (counters,) = placed.state.values()
    own = [b.id for b in placed.buffers if b.id.rpartition("/")[2] in ("line", "row", "scratch", "sums")]
    assert len(own) > 3
    lower, upper = placed.ranges[[isinstance(u, Segment) for u in SCHEDULES[kind].segments].index(True)]
    for b in placed.buffers:
        if b.id in own and lower <= b.lower and b.upper <= upper:
            assert refusal(SCHEDULES[kind], moved(placed, b.id, counters - placed.offsets[b.id])), b.id


def test_counters_under_the_last_row_of_the_output_are_noticed() -> None:
    """Nobody reads them any more, but they are written once the row is there."""
    layers = SCHEDULES["layers"].layers
    members = members_of(layers[5:6], GRAPH, frozenset(["small"]))
    assert members is not None
    segment = stream_segment(members, make_stream(members, GRAPH))
    schedule = Schedule(Segment("layers", (*layers[:5], segment, *layers[6:])))
    placed = plan(GRAPH, schedule, fast=True)
    assert refusal(schedule, placed) == ""
    end = placed.offsets["small"] + GRAPH.tensors["small"].bytes
    assert refusal(schedule, moved(placed, "small:CONV_2D/state", end - 8 - placed.state["small:CONV_2D"]))


def test_the_refusal_names_reader_tensor_byte_and_what_lies_there() -> None:
    """The convolution's output over its input, one row too early."""
    placed = moved(PLANS["layers"], "first", PLANS["layers"].offsets["image"] - PLANS["layers"].offsets["first"])
    with pytest.raises(AssertionError, match=r"^first:CONV_2D reads 'image' byte \d+ at arena\+\d+: 'first' byte \d+ "):
        execute(GRAPH, SCHEDULES["layers"], placed, False)


@pytest.mark.parametrize("kind", STREAMS)
def test_a_line_that_is_a_slot_or_a_column_too_short_is_noticed(kind: str) -> None:
    """Every line: none of them is longer than it must be."""
    for name, line in stream_of(kind).lines.items():
        for short in ({"slots": line.slots - 1}, {"window": line.window - 1}):
            if min(short.values()) >= 0:
                schedule = with_line(SCHEDULES[kind], name, lambda x, short=short: replace(x, **short))
                assert refusal(schedule, PLANS[kind]), (name, short)


@pytest.mark.parametrize("kind", STREAMS)
def test_a_pass_that_is_left_out_or_done_twice_is_noticed(kind: str) -> None:
    for p in range(len(stream_of(kind).passes)):
        for times in (0, 2):
            schedule = with_passes(SCHEDULES[kind], lambda old, p=p, n=times: (*old[:p], *n * [old[p]], *old[p + 1 :]))
            assert refusal(schedule, PLANS[kind]), (p, times)


def swaps(kind: str) -> Iterator[tuple[int, int, Schedule]]:
    """The schedule with two unlike passes exchanged, each pair."""
    passes = stream_of(kind).passes
    for a, b in combinations(range(len(passes)), 2):
        if passes[a] != passes[b]:
            order = [{a: b, b: a}.get(p, p) for p in range(len(passes))]
            yield a, b, with_passes(SCHEDULES[kind], lambda old, order=order: tuple(old[p] for p in order))


@pytest.mark.parametrize("kind", STREAMS)
def test_two_passes_in_each_other_s_place_are_noticed(kind: str) -> None:
    """But for one pair: the first row of the convolution that halves may wait for its turn, its input waits as well."""
    accepted = [(a, b) for a, b, schedule in swaps(kind) if not refusal(schedule, PLANS[kind])]
    assert accepted == ([] if kind == "groups" else [(3, 4)] if kind.startswith("rows in") else [(2, 3)])


def test_a_member_that_waits_for_a_row_that_never_comes_ends_the_run() -> None:
    """In the generated C the loop over columns would not end."""
    schedule = with_passes(SCHEDULES["columns"], lambda old: (old[0] & ~1, *old[1:]))
    assert "makes no progress" in refusal(schedule, PLANS["columns"])


def test_an_arena_that_is_too_small_is_noticed() -> None:
    for kind, placed in PLANS.items():
        less = replace(placed, arena=placed.arena - 40, work=placed.work - 40)  # more than a row's padding
        assert " beyond " in refusal(SCHEDULES[kind], less), kind


def test_what_is_accepted_computes_right(tmp_path: Path) -> None:
    """Plans with a buffer out of its place, and schedules with passes exchanged, that the executor takes: their C, in
    both buffer modes and with sanitizers. Counters stay aligned, which the executor does not ask for."""
    parts = []
    for kind, schedule in SCHEDULES.items():
        found = [
            shifted for b in PLANS[kind].buffers for d in SHIFTS
            if not (b.id.endswith(("/state", "/row")) and d % 4)
            and not refusal(schedule, shifted := moved(PLANS[kind], b.id, d))
        ]
        parts.append((GRAPH, schedule, found[len(found) // 2]))
        if kind in ("columns", "rows in"):
            parts += [(GRAPH, other, PLANS[kind]) for _, _, other in swaps(kind) if not refusal(other, PLANS[kind])]
    assert len(parts) == len(SCHEDULES) + 2
    check_together([GRAPH] * len(parts), parts, tmp_path)
