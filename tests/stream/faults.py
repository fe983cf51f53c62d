"""Faults to plant into plans and schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mcuc.plan import Plan
from mcuc.schedule import Line, Schedule, Segment, Stream


def moved(plan: Plan, buffer: str, distance: int) -> Plan:
    """The plan with one buffer so many bytes further, and all that lies in it."""
    at = plan.offsets[buffer]
    owner, _, kind = buffer.rpartition("/")
    lines = {owner} if kind == "line" else {buffer} if kind == "row" else set[str]()
    shared = kind == "scratch"  # the scratch of a stream's members

    def further(offsets: dict[str, int], names: set[str]) -> dict[str, int]:
        return {n: v + distance if n in names else v for n, v in offsets.items()}

    scratch = {n for n, v in plan.scratch.items() if (shared and v == at) or (kind == "sums" and n == owner)}
    return replace(
        plan,
        tensors=further(dict(plan.tensors), {n for n in plan.tensors if plan.storage[n] == buffer}),
        scratch=further(dict(plan.scratch), scratch),
        lines=further(dict(plan.lines), lines),
        state=further(dict(plan.state), {owner} if kind == "state" else set()),
        offsets=further(dict(plan.offsets), {buffer}),
    )


def with_streams(schedule: Schedule, change: Callable[[Stream], Stream]) -> Schedule:
    """The schedule with every stream changed."""
    units = [
        replace(u, stream=change(u.stream)) if isinstance(u, Segment) and u.stream is not None else u
        for u in schedule.segments
    ]
    return Schedule(Segment("layers", tuple(units)))


def with_line(schedule: Schedule, name: str, change: Callable[[Line], Line]) -> Schedule:
    """The schedule with the line of a tensor changed."""
    return with_streams(
        schedule, lambda s: replace(s, lines={n: change(x) if n == name else x for n, x in s.lines.items()})
    )


def with_passes(schedule: Schedule, change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Schedule:
    """The schedule with every stream's passes changed."""
    return with_streams(schedule, lambda s: replace(s, passes=change(s.passes)))
