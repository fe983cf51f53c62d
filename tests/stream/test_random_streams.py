"""Random image networks cut at random into streams and layers that run alone: rows, columns, strips, groups, rows in.

The plan on memory whose bytes know what they are, and the generated C with sanitizers against the NumPy reference.
benchmarks/random_streams.py does the same for as long as one likes.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_chains import chains, rolled
from random_networks import networks
from random_schedules import random_schedule
from tagged import execute
from together import Part, check_together

from mcuc import passes
from mcuc.ir import Graph
from mcuc.plan import plan
from mcuc.schedule import Segment

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
TOGETHER = 12  # networks in one compilation


def planned(graph: Graph, seed: int, fast: bool) -> Part:
    """A random schedule of the optimized graph with its plan, both run on tagged memory in both buffer modes."""
    optimized = passes.optimize(graph)
    schedule = random_schedule(optimized, seed)
    placed = plan(optimized, schedule, fast=fast)
    assert placed.lower_bound <= placed.arena and placed.work <= placed.arena
    for outside in (False, True):
        execute(optimized, schedule, placed, outside)
    return optimized, schedule, placed


@settings(CHECKED, max_examples=50)
@given(chains(), st.integers(0, 1 << 20), st.booleans())
def test_chains_read_what_was_written(graph: Graph, seed: int, fast: bool) -> None:
    planned(graph, seed, fast)


@settings(CHECKED, max_examples=50)
@given(networks(), st.integers(0, 1 << 20), st.booleans())
def test_any_network_reads_what_was_written(graph: Graph, seed: int, fast: bool) -> None:
    planned(graph, seed, fast)


@settings(CHECKED, max_examples=4, phases=[Phase.generate])
@given(st.lists(st.tuples(chains(), st.integers(0, 1 << 20)), min_size=TOGETHER, max_size=TOGETHER))
def test_the_c_of_chains_equals_the_reference(drawn: list[tuple[Graph, int]]) -> None:
    parts = [planned(graph, seed, bool(seed % 2)) for graph, seed in drawn]
    with TemporaryDirectory() as folder:
        check_together([graph for graph, _ in drawn], parts, Path(folder))


def test_random_schedules_are_of_every_kind() -> None:
    """So that the tests above mean something."""
    seen: dict[str, int] = {}
    for seed in range(200):
        graph = passes.optimize(rolled(seed))
        for unit in random_schedule(graph, seed).segments:
            if isinstance(unit, Segment):
                assert unit.stream is not None
                kinds = [unit.kind, "rows in" * (unit.stream.pushed is not None), "columns" * bool(unit.stream.steps)]
                kinds += ["addition" * any(layer.node.op == "conv_2d_add" for layer in unit.members)]
                kinds += ["average" * any(layer.reduction is not None for layer in unit.members)]
            else:
                kinds = ["alone", "tiled" * (unit.tiling.columns or unit.tiling.channels > 0)]
                kinds += ["within another" * bool(unit.into), "apart" * bool(unit.pitch)]
            for kind in filter(None, kinds):
                seen[kind] = seen.get(kind, 0) + 1
    wanted = {"stream", "strips", "groups", "rows in", "columns", "average", "alone", "tiled", "within another"}
    wanted |= {"apart", "addition"}
    assert wanted <= {kind for kind, count in seen.items() if count >= 3}, seen
