"""Placements of parts in which some buffers have spans: from which orders and directions the local search starts."""

from __future__ import annotations

from collections.abc import Sequence

from mcuc.plan._blocks import Blocks
from mcuc.plan._greedy import orders
from mcuc.plan._local import NEVER, Start
from mcuc.plan._native_blocks import improve
from mcuc.plan._problem import Buffer, Part

ROUNDS = 5_000
FAST_ROUNDS = 500  # as good on real networks, a few milliseconds


def starts(part: Part) -> list[Start]:
    """Each order with all blocks going down, with those whose first bytes die first going up, and with all that the
    second limit spares (inputs and outputs) going up."""
    count, capped = part.problem.count, part.problem.capped
    directions = {(0,) * count, tuple(int(_dies_upward(b)) for b in part.buffers)}
    if any(capped) and not all(capped):
        directions.add(tuple(int(not c) for c in capped))
    return [Start(order, upward) for order in orders(part.problem) for upward in sorted(directions)]


def _dies_upward(b: Buffer) -> bool:
    """Does the buffer's first byte in use die before its last one?"""
    extent = b.extent
    if not b.spans or not extent:
        return False
    return min(extent, key=lambda s: (s.start, s.upper)).upper < max(extent, key=lambda s: (s.end, s.upper)).upper


def lowest_peak(part: Part, found: Blocks, enough: int, fast: bool, deadline: float) -> list[int]:
    """Offsets by index: the lowest peak among the greedy placements, lowered by the local search unless fast."""
    nothing: tuple[Sequence[int], int] = ([0] * found.count, NEVER)
    rounds = FAST_ROUNDS if fast else ROUNDS
    return improve(found, NEVER, enough, part.step, starts(part), rounds, deadline, nothing)[0]


def lowest_work(
    part: Part, found: Blocks, height: int, enough: int, fast: bool, deadline: float, known: tuple[Sequence[int], int]
) -> list[int]:
    """As `lowest_peak` for the end of the capped blocks, while all keep to the height; known: offsets and that end."""
    return improve(found, height, enough, part.step, starts(part), FAST_ROUNDS if fast else ROUNDS, deadline, known)[0]
