"""Streams against plain execution, on random networks cut at random."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import STRICT, assert_equal, run_reference, samples
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_networks import networks
from random_streams import random_schedule

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.ir import Graph
from mcuc.plan import plan

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@settings(CHECKED, max_examples=40, phases=[Phase.generate])
@given(networks(), st.integers(0, 1 << 20))
def test_one(graph: Graph, seed: int) -> None:
    lowered = passes.optimize(graph)
    schedule = random_schedule(lowered, seed)
    placed = plan(lowered, schedule, fast=True)
    emitted = emit(lowered, schedule, placed, "case", "test", 16, 1024)
    with TemporaryDirectory() as folder:
        model = host.build(emitted, lowered, Path(folder), sanitize=True, extra_flags=STRICT)
        inputs = samples(graph, 3)
        for inside in (False, True):
            found = host.run(model, inputs, inside=inside, timeout_s=10).outputs
            assert_equal(run_reference(graph, inputs), [[o[n] for o in found] for n in range(len(inputs))], f"{inside}\n{graph}")
