"""Streams against plain execution, on random networks cut at random: the long run is benchmarks/stream_graphs.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_chains import rolled
from random_streams import random_schedule
from tagged import execute
from together import check_together

from mcuc import passes
from mcuc.plan import plan

BATCH, BATCHES = 20, 5


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_networks_in_streams_equal_the_reference(batch: int, tmp_path: Path) -> None:
    """The C, with sanitizers, in both buffer modes; the plan, on memory that knows what every byte is."""
    seeds = range(100_000 + batch * BATCH, 100_000 + (batch + 1) * BATCH)
    sources, parts = [rolled(seed) for seed in seeds], []
    for seed, source in zip(seeds, sources, strict=True):
        graph = passes.optimize(source)
        schedule = random_schedule(graph, seed)
        placed = plan(graph, schedule, fast=bool(seed % 2))
        assert all(execute(graph, schedule, placed, outside) for outside in (False, True))
        parts.append((graph, schedule, placed))
    assert check_together(sources, parts, tmp_path, 3)
