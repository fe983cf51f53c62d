"""Lifetimes, placement and emission together, on random networks.

Two nets under the planner: a replay of the plan in Python, byte by byte, on hundreds of networks, and the generated C,
with sanitizers, in arenas of the exact size, with the caller's buffers and inside the arena.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from harness import STRICT, TILINGS, assert_equal, run_reference, samples
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_networks import networks

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.ir import Graph
from mcuc.plan import Plan, plan
from mcuc.schedule import Layer, Schedule, Segment, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.select import retile
from mcuc.toolchain import build_host_executable

ELEMENT_WISE = {"add", "mul", "clip", "logistic", "quantize", "softmax"}
CUTS = (*TILINGS.values(), Tiling(columns=3), Tiling(channels=1))
TOGETHER = 12  # networks in one compilation
CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def lowered(graph: Graph, seed: int) -> tuple[Graph, Schedule]:
    """The optimized graph and a schedule in which every layer is cut in its own way."""
    optimized = passes.optimize(graph)
    rng = np.random.default_rng(seed)
    layers = layer_by_layer(optimized, None, Tiling()).layers
    cut: tuple[Layer, ...] = tuple(retile(layer, CUTS[rng.integers(len(CUTS))]) for layer in layers)
    return optimized, Schedule(Segment("layers", cut))


def replay(graph: Graph, schedule: Schedule, placed: Plan, outside: bool) -> None:
    """Runs the plan on memory whose bytes hold the number of the value they belong to.

    Every read must find its value whole. outside: the caller keeps input and output, the arena has `work` bytes.
    """
    ends = (*graph.inputs, *graph.outputs)
    assert len({placed.storage[n] for n in ends}) == len(ends), "two of the caller's buffers are one"
    roots = {placed.storage[n] for n in ends} if outside else set()
    own = {root: np.zeros(graph.tensors[root].bytes, np.int64) for root in roots}
    arena = np.zeros(placed.work if outside else placed.arena, np.int64)
    value: dict[str, int] = {}

    def place(name: str) -> np.ndarray:
        if placed.storage[name] in own:
            return own[placed.storage[name]][: graph.tensors[name].bytes]
        at = placed.tensors[name]
        assert at + graph.tensors[name].bytes <= arena.size, f"{name} ends beyond the arena"
        return arena[at : at + graph.tensors[name].bytes]

    for number, name in enumerate(graph.inputs, 1):
        value[name] = number
        place(name)[:] = number
    for step, layer in enumerate(schedule.layers, 1000):
        out = layer.node.outputs[0]
        reads = graph.runtime_inputs(layer.node)
        for name in reads:
            assert (place(name) == value[name]).all(), f"{layer.node.name} finds {name} overwritten"
        if not layer.calls:
            value[out] = value[reads[0]]
            continue
        if layer.scratch:
            at = placed.scratch[layer.node.name]
            assert at + layer.scratch <= arena.size
            arena[at : at + layer.scratch] = -step
            for name in reads:
                assert (place(name) == value[name]).all(), f"the scratch of {layer.node.name} lies over {name}"
        over = [n for n in reads if np.shares_memory(place(n), place(out))]
        if over:
            assert layer.node.op in ELEMENT_WISE
            assert all(placed.tensors[n] == placed.tensors[out] for n in over)
            assert all(graph.tensors[n].bytes == graph.tensors[out].bytes for n in over)
        if layer.scratch:
            assert not np.shares_memory(place(out), arena[at : at + layer.scratch])
        value[out] = step
        place(out)[:] = step
    for name in graph.outputs:
        assert (place(name) == value[name]).all(), f"the output {name} is overwritten"
    for number, name in enumerate(graph.inputs, 1):
        assert not outside or (place(name) == number).all(), f"the caller's input {name} is overwritten"


@settings(CHECKED, max_examples=300)
@given(networks(), st.booleans())
def test_every_layer_reads_what_was_written(graph: Graph, fast: bool) -> None:
    optimized, schedule = lowered(graph, 0)
    placed = plan(optimized, schedule, fast=fast)
    assert placed.work <= placed.arena
    assert placed.lower_bound <= placed.arena and (placed.optimal or fast)
    assert max(placed.live, default=0) <= placed.arena
    for outside in (False, True):
        replay(optimized, schedule, placed, outside)


def build_together(parts: Sequence[tuple[Graph, Schedule]], folder: Path) -> list[host.HostModel]:
    """All networks in one executable, which runs the one by whose name it is called."""
    lines, switch = ["#define _POSIX_C_SOURCE 200112L"], []
    for number, (graph, schedule) in enumerate(parts):
        name = f"n{number}"
        emitted = emit(graph, schedule, plan(graph, schedule), name, "test", 16, 1024)
        host.write_sources(emitted, folder)
        (folder / f"{name}_main.c").write_text(emitted.host_main, encoding="utf-8")
        lines += [f"#define main {name}_main", f"#define hashes {name}_hashes",
                  *(f'#include "{name}{end}.c"' for end in ("", "_weights", "_main")),
                  "#undef main", "#undef hashes", "#undef LAYER"]
        switch.append(f'    if (strcmp(me, "{name}") == 0) return {name}_main(argc, argv);')
    lines += ["int main(int argc, char **argv)", "{", "    const char *me = strrchr(argv[0], '/') + 1;", *switch,
              "    return 9;", "}", ""]
    (folder / "all.c").write_text("\n".join(lines), encoding="utf-8")
    program = build_host_executable([folder / "all.c"], [folder], folder / "all", sanitize=True, extra_flags=STRICT)
    for number in range(len(parts)):
        (folder / f"n{number}").symlink_to(program)
    return [host.HostModel(folder / f"n{number}", graph, 0) for number, (graph, _) in enumerate(parts)]


@settings(CHECKED, max_examples=10, phases=[Phase.generate])
@given(st.lists(networks(), min_size=TOGETHER, max_size=TOGETHER))
def test_the_c_of_random_networks_equals_the_reference(graphs: list[Graph]) -> None:
    """In both buffer modes; the host program fails by itself where a run changes the caller's input."""
    parts = [lowered(replace(graph, name=f"n{n}"), n) for n, graph in enumerate(graphs)]
    with TemporaryDirectory() as folder:
        for graph, model in zip(graphs, build_together(parts, Path(folder)), strict=True):
            inputs = samples(graph, 4)
            wanted = run_reference(graph, inputs)
            for inside in (False, True):
                found = host.run(model, inputs, inside=inside).outputs
                actual = [[out[n] for out in found] for n in range(len(inputs))]
                assert_equal(wanted, actual, f"inside={inside}\n{graph}")
