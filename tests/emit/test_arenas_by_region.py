"""The C of a plan over several RAM regions: the same numbers, an array of arenas, every one of them checked."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from harness import STRICT, assert_equal, run_reference, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import output, pair
from random_networks import networks

import small_models
from mcuc import passes
from mcuc.emit.model import Emitted, emit
from mcuc.emulate import host
from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.plan import Plan, plan
from mcuc.plan.regions import Region
from mcuc.schedule import Schedule
from mcuc.schedule.explore import explore
from mcuc.toolchain import build_host_executable

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Split:
    """A network whose buffers lie in several regions, its prefix "net"."""

    graph: Graph
    schedule: Schedule
    plan: Plan
    emitted: Emitted


def split(graph: Graph, share: float, rows_in: bool = False, which: int = 0) -> Split:
    """Regions: one with `share` of the arena's bytes that DMA does not reach, and a large one. which: the schedule, as
    numbered from the smallest arena."""
    graph = passes.optimize(graph)
    candidates = explore(graph, None, "sram", graph.inputs[0] if rows_in else None).candidates
    candidate = candidates[which % len(candidates)]
    whole = plan(candidate.graph, candidate.schedule, fast=True).arena
    regions = [Region("fast", int(whole * share), 1.0, dma=False), Region("slow", 1 << 20, 2.0)]
    placed = plan(candidate.graph, candidate.schedule, fast=True, regions=regions)
    emitted = emit(candidate.graph, candidate.schedule, placed, "net", "test.tflite", 32, 512)
    return Split(candidate.graph, candidate.schedule, placed, emitted)


def assert_right(made: Split, graph: Graph, folder: Path, count: int = 3) -> None:
    """Every sample in both buffer modes, the arenas each of exactly their bytes under a sanitizer."""
    model = host.build(made.emitted, made.graph, folder, sanitize=True, extra_flags=STRICT)
    inputs = samples(graph, count)
    for inside in (False, True):
        found = host.run(model, inputs, inside=inside, timeout_s=60).outputs
        actual = [[out[n] for out in found] for n in range(len(inputs))]
        assert_equal(run_reference(made.graph, inputs), actual, f"{inside}\n{graph}")


@settings(CHECKED, max_examples=25)
@given(networks(), st.floats(0.0, 1.2), st.integers(0, 1 << 16))
def test_any_division_of_the_buffers_gives_the_reference_s_numbers(graph: Graph, share: float, which: int) -> None:
    made = split(graph, share, which=which)
    with TemporaryDirectory() as folder:
        assert_right(made, passes.optimize(graph), Path(folder))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 2.0])
@pytest.mark.parametrize("rows_in", [False, True])
def test_streams_and_inputs_by_rows_run_over_several_regions(share: float, rows_in: bool, tmp_path: Path) -> None:
    graph = small_models.tiny_graph(side=32)
    made = split(graph, share, rows_in)
    assert any(made.plan.state), "the schedule has a stream"
    assert len(made.plan.arenas) == (1 if share == 0.0 else 2)
    assert_right(made, graph, tmp_path, 5)


def test_the_header_has_every_arena_s_region_and_bytes() -> None:
    made = split(small_models.tiny_graph(side=32), 0.5)
    header = made.emitted.files["net.h"]
    macros = dict(re.findall(r"#define NET_(\w+) (\S+)", header))
    assert macros["ARENAS"] == "2"
    for i, arena in enumerate(made.plan.arenas):
        found = (macros[f"ARENA_{i}_REGION"], macros[f"ARENA_{i}_BYTES"], macros[f"WORK_{i}_BYTES"])
        assert found == (f'"{arena.name}"', f"{arena.bytes}u", f"{arena.work}u")
    assert macros["ARENA_BYTES"] == f"{sum(a.bytes for a in made.plan.arenas)}u"
    assert macros["WORK_BYTES"] == f"{sum(a.work for a in made.plan.arenas)}u"
    assert "int net_run(void *const arenas[], const net_input_t *input, net_output_t *output);" in header
    assert re.search(r"#define NET_INPUT_IN\(arenas\) .*\(arenas\)\[1\]", header), "DMA reaches the second region only"


def test_the_same_plan_gives_the_same_bytes() -> None:
    first, second = (split(small_models.tiny_graph(side=32), 0.5, True).emitted for _ in range(2))
    assert first == second


def test_one_named_region_is_the_plain_interface() -> None:
    """Nothing but the region's name and the number of the build tells it from a plan without regions."""
    graph = passes.optimize(small_models.tiny_graph(side=32))
    candidate = explore(graph, None, "sram").candidates[0]
    texts = []
    for regions in ((), (Region("only", 1 << 16),)):
        placed = plan(candidate.graph, candidate.schedule, fast=True, regions=regions)
        emitted = emit(candidate.graph, candidate.schedule, placed, "net", "test.tflite", 32, 512)
        text = "".join(emitted.files.values()) + emitted.harness + emitted.host_main
        texts.append(re.sub(r"0x[0-9a-f]{8}u", "ID", text))
    assert texts[1].replace('#define NET_ARENA_REGION "only"\n', "") == texts[0] != texts[1]
    with pytest.raises(McucError, match="only has room for 64") as caught:
        plan(candidate.graph, candidate.schedule, fast=True, regions=(Region("only", 64),))
    assert caught.value.code == "over-budget"


ERRORS = """
#include <stdio.h>
#include <string.h>
#include "net.h"

#define ROOM(bytes) (((bytes) + 2 * NET_ARENA_ALIGN) / NET_ARENA_ALIGN * NET_ARENA_ALIGN)
static unsigned char first[ROOM(NET_ARENA_0_BYTES)] __attribute__((aligned(NET_ARENA_ALIGN)));
static unsigned char second[ROOM(NET_ARENA_1_BYTES)] __attribute__((aligned(NET_ARENA_ALIGN)));
static net_input_t input[NET_INPUT_ELEMENTS];
static net_output_t result[NET_OUTPUT_ELEMENTS];

int main(void)
{
    void *const good[NET_ARENAS] = {first, second};
    void *const bad[6][NET_ARENAS] = {{NULL, second}, {first, NULL}, {NULL, NULL},
                                      {first + 1, second}, {first, second + 16}, {first + 4, second + 4}};
    memset(first, 0x5A, sizeof first);
    memset(second, 0x5A, sizeof second);
    printf("%d %d %d ", net_run(NULL, input, result), net_run(good, NULL, result), net_run(good, input, NULL));
    for (int i = 0; i < 6; i++)
        printf("%d ", net_run(bad[i], input, result));
#ifdef NET_INPUT_ROWS
    for (int i = 0; i < 6; i++)
        printf("%d %d %d ", net_begin(bad[i]), net_push_rows(bad[i], input, 1), net_finish(bad[i], result));
    printf("%d %d ", net_push_rows(good, input, 1), net_finish(good, result));
#endif
    for (unsigned i = 0; i < sizeof first; i++)
        if (first[i] != 0x5A)
            return 1; /* a refused call touches nothing */
    for (unsigned i = 0; i < sizeof second; i++)
        if (second[i] != 0x5A)
            return 2;
    printf("%d", net_run(good, input, result));
    return 0;
}
"""


@pytest.mark.parametrize("rows_in", [False, True])
def test_every_arena_is_checked_for_null_and_alignment(rows_in: bool, tmp_path: Path) -> None:
    made = split(small_models.tiny_graph(side=32), 0.5, rows_in)
    sources = host.write_sources(made.emitted, tmp_path)
    (tmp_path / "main.c").write_text(ERRORS)
    program = build_host_executable([*sources, tmp_path / "main.c"], [tmp_path], tmp_path / "program", sanitize=True)
    wrong = [-1] * 3 + [-2] * 3
    by_rows = [code for code in wrong for _ in range(3)] + [-3, -3] if rows_in else []
    assert [int(v) for v in output(program).split()] == [-1] * 3 + wrong + by_rows + [0]


def test_several_inputs_and_outputs_over_several_regions(tmp_path: Path) -> None:
    graph = pair().graph
    regions = [Region("a", 8, 1.0), Region("b", 16, 2.0), Region("c", 64, 3.0)]
    candidate = explore(graph, None, "sram").candidates[0]
    placed = plan(candidate.graph, candidate.schedule, regions=regions)
    assert len(placed.arenas) > 1
    emitted = emit(candidate.graph, candidate.schedule, placed, "net", "test.tflite", 32, 512)
    assert_right(Split(candidate.graph, candidate.schedule, placed, emitted), graph, tmp_path)


@pytest.mark.parametrize("standard", ["c99", "gnu99", "c++17"])
@pytest.mark.parametrize("rows_in", [False, True])
def test_code_and_header_compile_without_a_warning(standard: str, rows_in: bool, tmp_path: Path) -> None:
    compiler = "g++" if "++" in standard else "gcc"
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    sources = host.write_sources(split(small_models.tiny_graph(side=32), 0.5, rows_in).emitted, tmp_path)
    if compiler == "g++":
        user = ('#include "net.h"\nint answer(void *const *arenas)\n{\n    '
                "return net_run(arenas, nullptr, NET_OUTPUT_IN(arenas));\n}\n")
        sources = [tmp_path / "user.cpp"]
        sources[0].write_text(user)
    flags = (f"-std={standard}", "-O2", "-pedantic", *STRICT[1:])
    for source in sources:
        subprocess.run([compiler, *flags, "-c", source, "-o", tmp_path / "x.o"], check=True, cwd=tmp_path)
