"""The generated C of a model with states: reset, run, error codes, sequences that do not disturb each other."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, assert_equal, bias, run_reference, samples, tflite_graph, weights
from state_models import counting, delay_line, joined, streaming, with_states
from test_lstm import lstm
from test_svdf import svdf

sys.path.append(str(Path(__file__).resolve().parent.parent / "emit"))
from programs import made, output, program, tiny

from mcuc import passes, ram
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.image import build_image
from mcuc.ir import Graph
from mcuc.plan import plan
from mcuc.request import Request
from mcuc.schedule import Schedule, Segment, Tiling
from mcuc.schedule.explore import explore, layers_of
from mcuc.targets import load_board
from mcuc.verify.compare import emulated, first_difference_host

ERRORS = """
#include <stdio.h>
#include <string.h>
#include "net.h"

static unsigned char arena[NET_ARENA_BYTES + 1] __attribute__((aligned(NET_ARENA_ALIGN)));
static unsigned char state[NET_STATE_BYTES + 1] __attribute__((aligned(NET_ARENA_ALIGN)));
static net_input_t input[NET_INPUT_ELEMENTS];
static net_output_t result[NET_OUTPUT_ELEMENTS];

int main(void)
{
    memset(state, 0x5A, sizeof state);
    printf("%d %d ", net_reset(NULL), net_reset(state + 1));
    printf("%d %d %d %d ", net_run(NULL, arena, input, result), net_run(state, NULL, input, result),
           net_run(state, arena, NULL, result), net_run(state, arena, input, NULL));
    printf("%d %d ", net_run(state + 1, arena, input, result), net_run(state, arena + 1, input, result));
    for (unsigned i = 0; i < sizeof state; i++)
        if (state[i] != 0x5A)
            return 1; /* a refused call touches nothing */
    printf("%d %d", net_reset(state), net_run(state, arena, input, result));
    return state[NET_STATE_BYTES] == 0x5A ? 0 : 2;
}
"""
SEQUENCES = """
#include <stdio.h>
#include <string.h>
#include "net.h"

static unsigned char arena[NET_ARENA_BYTES] __attribute__((aligned(NET_ARENA_ALIGN)));
static unsigned char states[2][(NET_STATE_BYTES + 31u) & ~31u] __attribute__((aligned(NET_ARENA_ALIGN)));

/* One sequence with input 1, the other with input 2, in turns; in the middle the first begins again. */
int main(void)
{
    net_input_t input[NET_INPUT_ELEMENTS];
    net_output_t result[NET_OUTPUT_ELEMENTS];
    if (net_reset(states[0]) != NET_OK || net_reset(states[1]) != NET_OK)
        return 1;
    for (int i = 0; i < 12; i++) {
        memset(arena, 0xA5, sizeof arena);
        memset(input, 1 + i % 2, sizeof input);
        if (i == 6 && net_reset(states[0]) != NET_OK)
            return 2;
        if (net_run(states[i % 2], arena, input, result) != NET_OK)
            return 3;
        printf("%d ", result[0]);
    }
    return 0;
}
"""


def test_error_codes(tmp_path: Path) -> None:
    found = [int(v) for v in output(program(made(streaming()), ERRORS, tmp_path)).split()]
    assert found == [-1, -2, -1, -1, -1, -1, -2, -2, 0, 0]


def test_sequences_have_nothing_in_common(tmp_path: Path) -> None:
    found = [int(v) for v in output(program(made(counting()), SEQUENCES, tmp_path)).split()]
    assert found == [1, 2, 2, 4, 3, 6, 1, 8, 2, 10, 3, 12]


def test_the_header_says_how_large_the_state_is() -> None:
    header = made(streaming()).emitted.files["net.h"]
    assert re.search(r"#define NET_STATE_BYTES 16u\n", header)  # 15 bytes, whole words
    assert "int net_reset(void *state);" in header and "int net_run(void *state, void *arena, " in header


def test_a_model_without_states_has_no_reset() -> None:
    files = tiny().emitted.files
    assert "#define NET_STATE_BYTES 0u\n" in files["net.h"]
    assert not any("reset" in text for text in files.values()) and "state," not in files["net.h"]


def test_states_lie_outside_the_arena() -> None:
    net = made(delay_line())
    assert net.plan.state_bytes == 24
    kept = {n for s in net.graph.states for n in (s.current, s.next)}
    assert kept <= set(net.plan.variables) and not kept & set(net.plan.tensors)
    assert not kept & {b.id for b in net.plan.buffers}


@pytest.mark.parametrize("graph", [streaming(), counting(), delay_line()], ids=lambda g: g.name)
@pytest.mark.parametrize("goal", ["latency", "sram"])
def test_c_follows_the_reference_step_by_step(graph: Graph, goal: str, tmp_path: Path) -> None:
    inputs = samples(graph, 9)
    found = explore(passes.optimize(graph), None, goal).candidates[0]
    placed = plan(found.graph, found.schedule)
    emitted = emit(found.graph, found.schedule, placed, "net", "test", 16, 512)
    model = host.build(emitted, found.graph, tmp_path, sanitize=True)
    for inside in (False, True):
        outs = host.run(model, inputs, inside=inside).outputs
        assert_equal(run_reference(graph, inputs), [[o[n] for o in outs] for n in range(9)], f"inside={inside}")


@pytest.mark.parametrize("graph", [streaming(), delay_line()], ids=lambda g: g.name)
@pytest.mark.parametrize("name", ["nucleo-l4r5zi", "nucleo-g0b1re", "nucleo-h743zi"])
def test_the_emulated_core_follows_the_reference_step_by_step(graph: Graph, name: str, tmp_path: Path) -> None:
    """Each run goes on from the state that the one before left in memory; a run that is told of none begins anew."""
    board = load_board(name)
    found = explore(passes.optimize(graph), board.chip, "balanced").candidates[0]
    placed = plan(found.graph, found.schedule)
    emitted = emit(found.graph, found.schedule, placed, "net", "test", board.chip.arena_align, 512)
    image = build_image(emitted, board, Request(board=name), tmp_path)
    core, inputs = CortexM(image.elf, board.chip, emitted.symbols), samples(graph, 6)
    expected, run = run_reference(graph, inputs), None
    for sample, wanted in zip(inputs, expected, strict=True):
        outs, run = emulated(core, found.graph, placed, sample, audit=True, before=run)
        assert run.audit is not None and not run.audit.findings
        assert_equal([wanted], [[o[0] for o in outs]], name)
    again, _ = emulated(core, found.graph, placed, inputs[0])
    assert_equal(expected[:1], [[o[0] for o in again]], "after a reset")
    assert image.sizes.bss + image.sizes.data == placed.state_bytes


def test_several_regions_and_a_state(tmp_path: Path) -> None:
    board = load_board("nucleo-h743zi")
    graph = streaming()
    regions = ram.room(board, ram.chosen(board, ("dtcm", "axi_sram")), 0, 8)
    found = explore(passes.optimize(graph), board.chip, "latency").candidates[0]
    placed = plan(found.graph, found.schedule, regions=regions)
    emitted = emit(found.graph, found.schedule, placed, "net", "test", 32, 512)
    assert "net_run(void *state, void *const arenas[], " in emitted.files["net.h"]
    model = host.build(emitted, found.graph, tmp_path, sanitize=True)
    inputs = samples(graph, 5)
    outs = host.run(model, inputs).outputs
    assert_equal(run_reference(graph, inputs), [[o[n] for o in outs] for n in range(5)], "regions")


def test_an_input_by_rows_and_a_state(tmp_path: Path) -> None:
    """begin, push_rows and finish take the state as well."""
    graph = by_rows()
    found = explore(passes.optimize(graph), None, "sram", "x").candidates[0]
    placed = plan(found.graph, found.schedule)
    emitted = emit(found.graph, found.schedule, placed, "net", "test", 16, 512)
    assert "int net_push_rows(void *state, void *arena, " in emitted.files["net.h"]
    model = host.build(emitted, found.graph, tmp_path, sanitize=True)
    inputs = samples(graph, 5)
    for inside in (False, True):
        outs = host.run(model, inputs, inside=inside).outputs
        assert_equal(run_reference(graph, inputs), [[o[n] for o in outs] for n in range(5)], f"inside={inside}")


def by_rows() -> Graph:
    """An image, to which the last image's own convolution is added."""
    rng = RNG(5)
    x, old = activation("x", (1, 6, 5, 3), 0.05, 2), activation("old", (1, 6, 5, 3), 0.05, 2)
    mixed, out = activation("mixed", x.shape, 0.1, 1), activation("y", (1, 6, 5, 4), 0.2, 0)
    w = weights(rng, (4, 3, 3, 3))
    conv = {"strideH": 1, "strideW": 1, "padding": 0, "dilationHFactor": 1, "dilationWFactor": 1,
            "fusedActivationFunction": 0}
    keep = replace(old, name="keep")
    graph = joined(
        "rows",
        tflite_graph("ADD", [x, old], mixed),
        tflite_graph("QUANTIZE", [mixed], keep),
        tflite_graph("CONV_2D", [mixed, w, bias(rng, mixed, w, 4)], out, **conv),
        inputs=("x", "old"),
        outputs=("y",),
    )
    return with_states(graph, {"old": "keep"}, {"old": np.full(old.shape, 2, np.int8)})


def test_the_first_layer_that_differs_is_found_in_the_middle_of_a_sequence(tmp_path: Path) -> None:
    """The sum saturates too early, which only the fourth run shows; the state before it comes from three good ones."""
    net = made(counting())
    inputs = [[np.full((1, 8), 30, np.int8)] for _ in range(4)]
    text = net.emitted.files["net.c"]
    assert "-128, 127)" in text
    wrong = replace(net.emitted, files={**net.emitted.files, "net.c": text.replace("-128, 127)", "-128, 100)")})
    named = [
        first_difference_host(net.graph, net.schedule, wrong, inputs[n], tmp_path / str(n), before=inputs[:n])
        for n in (2, 3)
    ]
    assert named[0].startswith("no layer") and named[1] == f"{net.graph.nodes[0].name}, tensor 'y'"


@pytest.mark.parametrize("kind", ["lstm", "svdf"])
def test_a_recurrent_layer_with_staged_weights(kind: str, tmp_path: Path) -> None:
    """Its first table read from SRAM, where flash waits; the states' pointers come after the tables all the same."""
    graph = lstm(3, 5, 6) if kind == "lstm" else svdf(5, 4, 2, 3)
    optimized = passes.optimize(graph)
    (layer,) = layers_of(optimized, None, Tiling())
    ((call, kernel),) = layer.calls
    size = kernel.scratch(call) + kernel.tables(call)[0].bytes
    schedule = Schedule(Segment("layers", (replace(layer, staged=True, scratch=size),)))
    placed = plan(optimized, schedule)
    model = host.build(emit(optimized, schedule, placed, "net", "test", 16, 512), optimized, tmp_path, sanitize=True)
    inputs = samples(graph, 5)
    outs = host.run(model, inputs).outputs
    assert_equal(run_reference(graph, inputs), [[o[n] for o in outs] for n in range(5)], kind)
