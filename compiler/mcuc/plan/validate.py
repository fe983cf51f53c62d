"""The independent check of a memory plan. It shares no code with the placer and always runs after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from mcuc.errors import McucError


class InUse(Protocol):
    """Bytes [start, end) of a buffer, in use over the half-open steps [lower, upper)."""

    @property
    def lower(self) -> int: ...
    @property
    def upper(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


class Kept(Protocol):
    """What the check reads of a state: the tensor that holds it when a run begins, and the one when it is over."""

    @property
    def current(self) -> str: ...
    @property
    def next(self) -> str: ...


class Place(Protocol):
    """The tensor in whose bytes another one lies."""

    @property
    def root(self) -> str: ...


class Interval(Protocol):
    """What the check reads of a buffer: bytes `size`, live over the half-open steps [lower, upper), all of them or
    those of its spans."""

    @property
    def id(self) -> str: ...
    @property
    def lower(self) -> int: ...
    @property
    def upper(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def align(self) -> int: ...
    @property
    def spans(self) -> Sequence[InUse]: ...


def _refuse(found: str, where: str) -> McucError:
    return McucError("invalid-plan", found, where, "report this plan as a defect of the placement, with its CSV")


def validate(buffers: Sequence[Interval], offsets: Mapping[str, int], capacity: int | None = None) -> None:
    """Check that `offsets` (bytes from the arena's base) is a legal plan for `buffers`; return nothing when it is.

    Every pair of buffers is compared directly, in time and in space, and of buffers with spans every pair of spans:
    slow on purpose (quadratic), so that no data structure can hide a fault. An offset for an unknown buffer is a fault
    as well. A buffer that is never live (lower == upper) takes no space.

    Raises McucError("invalid-plan"): the first fault found, with the names of the buffers concerned.
    """
    names: set[str] = set()
    for b in buffers:
        if b.id in names:
            raise _refuse(f"two buffers share the name {b.id!r}", b.id)
        names.add(b.id)
        if b.size < 0 or b.lower > b.upper or b.align < 1:
            raise _refuse(
                f"buffer {b.id!r} is malformed: size {b.size}, lifetime [{b.lower}, {b.upper}), alignment {b.align}",
                b.id,
            )
        for s in b.spans:
            inside_time = b.lower <= s.lower <= s.upper <= b.upper
            if not inside_time or not 0 <= s.start <= s.end <= b.size:
                raise _refuse(
                    f"buffer {b.id!r} is malformed: its span of steps [{s.lower}, {s.upper}) and bytes "
                    f"[{s.start}, {s.end}) is not inside",
                    b.id,
                )
        if b.id not in offsets:
            raise _refuse(f"buffer {b.id!r} has no offset", b.id)
        offset = offsets[b.id]
        if offset < 0:
            raise _refuse(f"buffer {b.id!r} has the negative offset {offset}", b.id)
        if offset % b.align:
            raise _refuse(f"buffer {b.id!r} at offset {offset} is not aligned to {b.align} bytes", b.id)
        if capacity is not None and b.lower < b.upper and offset + b.size > capacity:
            raise _refuse(f"buffer {b.id!r} ends at byte {offset + b.size}, beyond the capacity of {capacity}", b.id)
    for name in offsets:
        if name not in names:
            raise _refuse(f"the plan has an offset for {name!r}, which is not a buffer", name)

    for position, a in enumerate(buffers):
        for b in buffers[position + 1 :]:
            if a.lower < b.upper and b.lower < a.upper:
                _check_pair(a, offsets[a.id], b, offsets[b.id])


def _pieces(b: Interval) -> list[tuple[int, int, int, int]]:
    """What is in use of a buffer: (first step, end step, first byte, end byte)."""
    if b.spans:
        return [(s.lower, s.upper, s.start, s.end) for s in b.spans]
    return [(b.lower, b.upper, 0, b.size)]


def _check_pair(a: Interval, a_offset: int, b: Interval, b_offset: int) -> None:
    for a_lower, a_upper, a_first, a_last in _pieces(a):
        a_start, a_end = a_offset + a_first, a_offset + a_last
        for b_lower, b_upper, b_first, b_last in _pieces(b):
            b_start, b_end = b_offset + b_first, b_offset + b_last
            time_from, time_to = max(a_lower, b_lower), min(a_upper, b_upper)
            if time_from < time_to and max(a_start, b_start) < min(a_end, b_end):
                raise _refuse(
                    f"buffers {a.id!r} (bytes {a_start} to {a_end}) and {b.id!r} (bytes {b_start} to {b_end}) overlap "
                    f"while both are live, steps {time_from} to {time_to}",
                    f"{a.id}, {b.id}",
                )


def validate_states(
    states: Sequence[Kept],
    units: Sequence[tuple[frozenset[str], frozenset[str]]],
    places: Mapping[str, Place],
) -> None:
    """Raises McucError("invalid-plan") where a state is written before its last reader has run.

    units: in execution order, the tensors that each reads and those that it writes; places: tensors that have a state's
    bytes -> where they lie.
    """
    for state in states:
        own = {state.current, *(name for name, place in places.items() if place.root == state.current)}
        written = [i for i, (_, writes) in enumerate(units) if state.next in writes]
        late = [i for i, (reads, _) in enumerate(units) if reads & own and (not written or i > written[0])]
        if len(written) != 1 or late:
            fault = "is read after it is written" if written else "is never written"
            raise _refuse(f"state {state.current!r} {fault}", state.current)
