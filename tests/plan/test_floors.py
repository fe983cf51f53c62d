"""Placements by floors keep everything apart, and find the plan of repeated blocks beside a long-lived tensor."""

from __future__ import annotations

import numpy as np
import pytest

from mcuc.plan.place import Buffer, Span, lower_bound, place
from mcuc.plan.validate import validate


def blocks(count: int) -> list[Buffer]:
    """A residual stream, and in each block matrices that come one by one, grow by rows and die together."""
    written = tuple(Span(r, 40 * count, 1000 * r, 1000 * r + 1000) for r in range(4))
    found = [Buffer("x", 0, 40 * count, 4000, 4, written)]
    for b in range(count):
        at = 40 * b
        for h in range(6):
            spans = tuple(Span(at + 5 * h + r, at + 36, 100 * r, 100 * r + 100) for r in range(5))
            found.append(Buffer(f"{b}/o{h}", at + 5 * h, at + 36, 500, 4, spans))
            found.append(Buffer(f"{b}/k{h}", at + 5 * h, at + 5 * h + 5, 700, 4))
    return found


@pytest.mark.parametrize("count", [1, 2, 9])
def test_repeated_blocks_need_what_one_block_needs(count: int) -> None:
    buffers = blocks(count)
    found = place(buffers, time_limit_s=1.0)
    validate(buffers, found.offsets, found.peak)
    assert found.peak == lower_bound(buffers) == lower_bound(blocks(1))


@pytest.mark.parametrize("seed", range(20))
def test_any_buffers_stay_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    buffers = []
    for i in range(30):
        lower, size = int(rng.integers(0, 60)), 4 * int(rng.integers(1, 40))
        upper = lower + int(rng.integers(1, 40))
        half = (Span(lower, upper, 0, size // 2), Span((lower + upper) // 2, upper, size // 2, size))
        buffers.append(Buffer(str(i), lower, upper, size, 4, half if rng.random() < 0.5 else ()))
    found = place(buffers, fast=True)
    validate(buffers, found.offsets, found.peak)
    assert found.peak >= lower_bound(buffers)
