"""Which tensors share bytes, how long each buffer is live, and how long each of its bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, assert_equal, bias, constant, run_reference, samples, tflite_graph, weights

sys.path.append(str(Path(__file__).resolve().parent.parent / "stream"))
from tagged import execute

from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor, check
from mcuc.passes.fold_zero_points import fold_zero_points
from mcuc.plan import Plan, plan
from mcuc.plan.lifetimes import Lifetimes, lifetimes
from mcuc.schedule import Schedule, Segment, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.select import retile
from mcuc.toolchain import build_host_executable
from mcuc.verify import reference
from mcuc.verify.compare import fnv1a

SHAPE = (1, 4, 6, 8)
Step = tuple[str, Sequence[str], str]


def network(steps: Sequence[Step], outputs: Sequence[str], inputs: Sequence[str] = ("x",)) -> Graph:
    """Steps (operator, inputs, output) over tensors of one size; RESHAPE n: to rank n. Convolutions are ready to lower,
    no other pass has run."""
    shapes = {2: (1, 192), 3: (1, 24, 8), 4: SHAPE}
    known: dict[str, Tensor] = {n: activation(n, SHAPE, 0.04, -3) for n in inputs}
    tensors, nodes = dict(known), []
    rng = RNG(1)
    for number, (kind, reads, out) in enumerate(steps):
        operator, _, rank = kind.partition(" ")
        x = known[reads[0]]
        y = activation(out, x.shape, 0.05, 4 + number)
        arguments = [known[n] for n in reads]
        fields: dict[str, object] = {}
        if operator == "RESHAPE":
            y = replace(x, name=out, shape=shapes[int(rank)])
            arguments.append(constant(f"{out}/shape", np.array(y.shape, np.int32)))
        elif operator == "CONV_2D":
            w = replace(weights(rng, (8, 3, 3, 8)), name=f"{out}/w")
            arguments += [w, replace(bias(rng, x, w, 8), name=f"{out}/b")]
            fields = {"strideH": 1, "strideW": 1, "padding": 0, "dilationHFactor": 1, "dilationWFactor": 1}
        elif operator == "MEAN":
            y = replace(y, shape=(1, 1, 1, 8))
            arguments.append(constant(f"{out}/axes", np.array([1, 2], np.int32)))
            fields = {"keepDims": True}
        known[out] = y
        made = tflite_graph(operator, arguments, y, **fields)
        tensors.update(made.tensors)
        nodes.append(replace(made.nodes[0], name=str(number)))
    graph = Graph("net", "tflite", tensors, tuple(nodes), tuple(inputs), tuple(outputs))
    return fold_zero_points(check(graph))


def found(graph: Graph) -> tuple[Lifetimes, Schedule, Plan]:
    schedule = layer_by_layer(graph, None, Tiling())
    return lifetimes(graph, schedule), schedule, plan(graph, schedule)


def live(lives: Lifetimes, root: str) -> tuple[int, int]:
    """The layers [first, end) during which any byte of the buffer is in use."""
    (buffer,) = [b for b in lives.buffers if b.id == root]
    during = [k for k, (lower, upper) in enumerate(lives.ranges) if lower < buffer.upper and buffer.lower < upper]
    return during[0], during[-1] + 1


def most_scratch(schedule: Schedule) -> int:
    return max(layer.scratch for layer in schedule.layers)


def test_an_element_wise_layer_takes_its_dying_input_s_bytes() -> None:
    graph = network([("CONV_2D", "x", "a"), ("RELU", "a", "b"), ("QUANTIZE", "b", "c"), ("CONV_2D", "c", "y")], "y")
    lives, _, placed = found(graph)
    assert lives.storage["b"] == lives.storage["c"] == "a"
    assert live(lives, "a") == (0, 4)
    assert placed.tensors["a"] == placed.tensors["b"] == placed.tensors["c"]
    _, _, without = found(network([("CONV_2D", "x", "a"), ("CONV_2D", "a", "y")], "y"))
    assert (placed.arena, placed.work) == (without.arena, without.work), "the two layers take no bytes"


def test_an_input_that_is_read_later_is_not_overwritten() -> None:
    steps = [("CONV_2D", "x", "a"), ("RELU", "a", "b"), ("ADD", ("a", "b"), "c"), ("CONV_2D", "c", "y")]
    lives, _, _ = found(network(steps, "y"))
    assert lives.storage["b"] == "b"
    assert lives.storage["c"] in ("a", "b"), "both die in the addition, one of them gives its bytes"
    assert live(lives, "a")[1] >= 3


@pytest.mark.parametrize("later", ["a", "r"])
def test_an_input_that_is_read_later_under_another_shape_is_not_overwritten(later: str) -> None:
    """r is a reshaped: whoever reads either keeps the bytes alive."""
    steps = [("CONV_2D", "x", "a"), ("RESHAPE 4", "a", "r"), ("RELU", "a" if later == "r" else "r", "b"),
             ("ADD", (later, "b"), "c"), ("CONV_2D", "c", "y")]
    lives, _, _ = found(network(steps, "y"))
    assert lives.storage["r"] == lives.storage["a"] == "a"
    assert lives.storage["b"] == "b"
    assert live(lives, "a") == (0, 5) if lives.storage["c"] == "a" else live(lives, "a") == (0, 4)


def test_a_model_input_is_never_overwritten_in_place() -> None:
    graph = network([("RELU", "x", "a"), ("RESHAPE 2", "a", "r"), ("CONV_2D", "a", "y")], ("y", "r"))
    lives, _, _ = found(graph)
    assert lives.storage["a"] != "x"
    reshaped = network([("RESHAPE 4", "x", "r"), ("RELU", "r", "a"), ("CONV_2D", "a", "y")], "y")
    lives, _, _ = found(reshaped)
    assert lives.storage["r"] == "x"
    assert lives.storage["a"] == "a", "r is the model's input under another shape"


def test_a_model_output_is_never_overwritten_in_place() -> None:
    graph = network([("CONV_2D", "x", "y"), ("RELU", "y", "a"), ("CONV_2D", "a", "z")], ("y", "z"))
    lives, _, _ = found(graph)
    assert lives.storage["a"] == "a"
    assert live(lives, "y") == (0, 3), "an output lives until the end"


def test_an_output_is_never_laid_over_a_tensor_of_the_arena() -> None:
    """The caller may keep outputs elsewhere."""
    lives, _, _ = found(network([("CONV_2D", "x", "a"), ("RELU", "a", "y")], "y"))
    assert lives.storage["y"] == "y"
    behind = network([("CONV_2D", "x", "a"), ("RELU", "a", "b"), ("RESHAPE 2", "b", "y")], "y")
    lives, _, _ = found(behind)
    assert lives.storage["y"] == lives.storage["b"] == "b", "the layer writes the output's bytes"


def test_only_an_input_of_equal_size_is_overwritten() -> None:
    steps = [("CONV_2D", "x", "a"), ("MEAN", "a", "m"), ("QUANTIZE", "a", "b"), ("ADD", ("b", "m"), "c"),
             ("CONV_2D", "c", "y")]
    lives, _, _ = found(network(steps, "y"))
    assert lives.storage["c"] == lives.storage["b"] == "a"
    other = [("CONV_2D", "x", "a"), ("MEAN", "a", "m"), ("QUANTIZE", "m", "b"), ("ADD", ("a", "b"), "c"),
             ("ADD", ("c", "a"), "d"), ("CONV_2D", "d", "y")]
    lives, _, _ = found(network(other, "y"))
    assert lives.storage["b"] == "m"
    assert lives.storage["c"] == "c", "a lives on and b is smaller"


def test_a_tensor_added_to_itself() -> None:
    graph = network([("CONV_2D", "x", "a"), ("ADD", ("a", "a"), "b"), ("CONV_2D", "b", "y")], "y")
    lives, _, _ = found(graph)
    assert lives.storage["b"] == "b"


def test_a_convolution_overwrites_of_its_input_only_what_is_dead() -> None:
    graph = network([("CONV_2D", "x", "a"), ("CONV_2D", "a", "b"), ("CONV_2D", "b", "y")], "y")
    lives, schedule, placed = found(graph)
    assert lives.storage["b"] == "b"
    assert placed.tensors["a"] != placed.tensors["b"]
    for outside in (False, True):
        execute(graph, schedule, placed, outside)


def spans(lives: Lifetimes, root: str) -> list[tuple[int, int, int, int]]:
    """(first tick, end, first byte, end) of every piece of a buffer."""
    (buffer,) = [b for b in lives.buffers if b.id == root]
    return [(s.lower, s.upper, s.start, s.end) for s in buffer.spans]


def test_rows_live_from_their_own_tick_to_their_last_reader_s() -> None:
    """3x3 convolutions of four rows of 48 bytes, a tick a row: row r is written in tick r of the first and read last by
    row r + 1 of the second, where there is one."""
    steps = [("CONV_2D", "x", "a"), ("CONV_2D", "a", "y")]
    lives, _, placed = found(network(steps, "y"))
    assert lives.ranges == ((0, 4), (4, 8))
    assert spans(lives, "a") == [(0, 6, 0, 48), (1, 7, 48, 96), (2, 8, 96, 144), (3, 8, 144, 192)]
    assert spans(lives, "x") == [(0, 2, 0, 48), (0, 3, 48, 96), (0, 4, 96, 192)]
    assert spans(lives, "y") == [(4 + r, 8, 48 * r, 48 * r + 48) for r in range(4)], "an output lives until the end"
    assert placed.arena < 2 * 192 + most_scratch(found(network(steps, "y"))[1]), "an output over its dying input"


def test_a_layer_that_goes_through_a_row_once_for_every_block_of_channels_reads_it_to_the_end() -> None:
    """RELU to the output is one long row: cut by columns its input dies from the left, cut by channels all at once."""
    graph = network([("CONV_2D", "x", "a"), ("RELU", "a", "y")], "y")
    layers = layer_by_layer(graph, None, Tiling()).layers
    ends = []
    for tiling in (Tiling(), Tiling(columns=5), Tiling(channels=3), Tiling(5, 3)):
        cut = Schedule(Segment("layers", (layers[0], retile(layers[1], tiling))))
        ends.append({upper for _, upper, _, _ in spans(lifetimes(graph, cut), "a")})
    assert len(ends[0]) == len(ends[1]) == 6 and len(ends[2]) == len(ends[3]) == 1


@pytest.mark.parametrize("left, right", [(0, 0), (3, 0), (8, 0), (16, 0), (0, 16), (9, 9)])
def test_columns_of_one_row_wait_for_the_padding_before_them(left: int, right: int, tmp_path: Path) -> None:
    """Input column c is read by output column c + left, not earlier."""
    x, y = activation("x", (1, 1, 16, 4), 0.05, 3), activation("y", (1, 1, 16 + left + right, 4), 0.05, 3)
    pads = constant("pads", np.array([[0, 0], [0, 0], [left, right], [0, 0]], np.int32))
    graph = tflite_graph("PAD", [x, pads], y)
    lives, schedule, placed = found(graph)
    for outside in (False, True):
        execute(graph, schedule, placed, outside)
    ticks = lives.ranges[0][1]
    for lower, upper, start, end in spans(lives, "x"):
        assert lower == 0
        last = (end - 1) // 4 + left  # the output column that reads the piece's last byte
        assert upper == 1 + max(t for t in range(ticks) if t * (16 + left + right) // ticks <= last), (start, end)
    runs_right(graph, tmp_path)


def test_every_row_under_the_only_window_from_top_to_bottom_waits_for_its_columns(tmp_path: Path) -> None:
    """One output row of 16 columns from three input rows, all of which it reads from left to right."""
    x, y = activation("x", (1, 3, 16, 4), 0.05, 3), activation("y", (1, 1, 16, 12), 0.05, 3)
    rng = RNG(2)
    w = weights(rng, (12, 3, 1, 4))
    graph = fold_zero_points(tflite_graph("CONV_2D", [x, w, bias(rng, x, w, 12)], y, strideH=1, strideW=1, padding=1,
                                          dilationHFactor=1, dilationWFactor=1))
    lives, schedule, placed = found(graph)
    assert {(start, end): upper for _, upper, start, end in spans(lives, "x")} == {
        (row * 64 + 16 * k, row * 64 + 16 * k + 16): k + 1 for row in range(3) for k in range(4)}
    for outside in (False, True):
        execute(graph, schedule, placed, outside)
    runs_right(graph, tmp_path)


def test_a_chain_of_reshapes_is_one_buffer() -> None:
    steps = [("CONV_2D", "x", "a"), ("RESHAPE 2", "a", "b"), ("RESHAPE 3", "b", "c"), ("RESHAPE 4", "c", "d"),
             ("CONV_2D", "d", "y")]
    lives, schedule, _ = found(network(steps, "y"))
    assert {lives.storage[n] for n in "abcd"} == {"a"}
    assert [bool(layer.calls) for layer in schedule.layers] == [True, False, False, False, True]
    assert live(lives, "a") == (0, 5)
    assert len(lives.buffers) == 3 + len(lives.scratch)


def test_reshapes_at_the_ends_are_the_caller_s_bytes() -> None:
    steps = [("RESHAPE 2", "x", "a"), ("RESHAPE 4", "a", "b"), ("CONV_2D", "b", "c"), ("RESHAPE 3", "c", "d"),
             ("RESHAPE 2", "d", "y")]
    lives, schedule, placed = found(network(steps, "y"))
    assert lives.storage["b"] == "x" and lives.storage["y"] == "c"
    assert lives.io == {"x", "c"}
    assert placed.work == most_scratch(schedule)


@pytest.mark.parametrize(
    "steps, outputs, copied",
    [
        ([("RESHAPE 2", "x", "y")], "y", ["y"]),
        ([("RESHAPE 2", "x", "a"), ("RESHAPE 3", "a", "y")], "y", ["y"]),
        ([("RESHAPE 2", "x", "y"), ("RESHAPE 3", "y", "z")], "yz", ["y", "z"]),
        ([("CONV_2D", "x", "y"), ("RESHAPE 2", "y", "z")], "yz", ["z"]),
        ([("CONV_2D", "x", "a"), ("RESHAPE 2", "a", "y"), ("RESHAPE 3", "a", "z")], "yz", ["z"]),
        ([("RESHAPE 2", "x", "a"), ("RESHAPE 4", "a", "b"), ("CONV_2D", "b", "y")], "y", []),
    ],
)
def test_a_reshape_between_two_of_the_caller_s_buffers_copies(
    steps: list[Step], outputs: str, copied: list[str], tmp_path: Path
) -> None:
    graph = network(steps, tuple(outputs))
    lives, schedule, _ = found(graph)
    moved = [la.node.outputs[0] for la in schedule.layers if la.node.op == "reshape" and la.calls]
    assert moved == copied
    assert len({lives.storage[n] for n in (*graph.inputs, *graph.outputs)}) == 1 + len(outputs)
    runs_right(graph, tmp_path)


def test_scratch_lives_while_its_layer_runs(tmp_path: Path) -> None:
    """Softmax keeps exponentials in scratch; over its input's bytes, never over its own tensors."""
    steps = [("CONV_2D", "x", "a"), ("CONV_2D", "a", "b"), ("CONV_2D", "b", "y")]
    graph = network(steps, "y")
    schedule = layer_by_layer(graph, None, Tiling())
    layers = tuple(replace(layer, scratch=40 + 8 * n) for n, layer in enumerate(schedule.layers))
    with_scratch = Schedule(replace(schedule.root, members=layers))
    lives = lifetimes(graph, with_scratch)
    for step, layer in enumerate(layers):
        (buffer,) = [b for b in lives.buffers if b.id == lives.scratch[layer.node.name]]
        assert (buffer.lower, buffer.upper, buffer.size) == (*lives.ranges[step], 40 + 8 * step)
    placed = plan(graph, with_scratch)
    for step, layer in enumerate(layers):
        at = placed.scratch[layer.node.name]
        assert at + layer.scratch <= placed.work, "scratch is needed in both buffer modes"
        for name in (*graph.runtime_inputs(layer.node), *layer.node.outputs):
            start, end = placed.tensors[name], placed.tensors[name] + graph.tensors[name].bytes
            assert end <= at or at + layer.scratch <= start, f"scratch of step {step} over {name}"


def test_unread_inputs_and_unread_results_have_bytes_of_their_own() -> None:
    """Dead layers are removed by a pass; where one is left, it destroys nothing."""
    steps = [("CONV_2D", "x", "a"), ("CONV_2D", "a", "dead"), ("CONV_2D", "a", "y")]
    lives, _, placed = found(network(steps, "y", ("x", "unread")))
    assert live(lives, "unread") == (0, 1)
    assert live(lives, "dead") == (1, 2)
    assert placed.tensors["dead"] != placed.tensors["a"]


def test_several_inputs_wait_for_their_readers() -> None:
    steps = [("CONV_2D", "x", "a"), ("CONV_2D", "a", "b"), ("ADD", ("b", "late"), "y")]
    lives, _, _ = found(network(steps, "y", ("x", "late")))
    assert live(lives, "x") == (0, 1)
    assert live(lives, "late") == (0, 3), "the caller writes it before the run begins"


def test_an_output_that_is_an_input_is_refused() -> None:
    graph = replace(network([("CONV_2D", "x", "y")], "y"), outputs=("y", "x"))
    schedule = layer_by_layer(graph, None, Tiling())
    with pytest.raises(McucError, match="one of its inputs"):
        emit(graph, schedule, plan(graph, schedule), "net", "test", 16, 1024)


def runs_right(graph: Graph, folder: Path) -> None:
    """The C, traced and sanitized, in both buffer modes: outputs, and every layer's hash, are the reference's."""
    schedule = layer_by_layer(graph, None, Tiling())
    emitted = emit(graph, schedule, plan(graph, schedule), "net", "test", 16, 1024)
    model = host.build(emitted, graph, folder, trace=True, sanitize=True)
    inputs = samples(graph, 3)
    nodes: list[Node] = [layer.node for layer in schedule.layers if layer.calls]
    for inside in (False, True):
        run = host.run(model, inputs, inside=inside)
        actual = [[out[n] for out in run.outputs] for n in range(len(inputs))]
        assert_equal(run_reference(graph, inputs), actual, f"inside={inside}")
        for sample, hashes in zip(inputs, run.hashes, strict=True):
            values = reference.run(graph, dict(zip(graph.inputs, sample, strict=True)))
            assert [fnv1a(values[n.outputs[0]].tobytes()) for n in nodes] == hashes.tolist()


SMALL = {
    "chain": network([("CONV_2D", "x", "a"), ("RELU", "a", "b"), ("CONV_2D", "b", "y")], "y"),
    "residual": network([("CONV_2D", "x", "a"), ("CONV_2D", "a", "b"), ("ADD", ("x", "b"), "c"),
                         ("CONV_2D", "c", "y")], "y"),
}
KEPT = """
#include <stdlib.h>
#include <string.h>
#include "net.h"

int main(int argc, char **argv)
{
    static unsigned char arena[NET_ARENA_BYTES] __attribute__((aligned(NET_ARENA_ALIGN)));
    static net_input_t input[NET_INPUT_ELEMENTS], kept[NET_INPUT_ELEMENTS];
    static net_output_t output[NET_OUTPUT_ELEMENTS], again[NET_OUTPUT_ELEMENTS];
    const int inside = argc > 1;
    net_input_t *const in = inside ? NET_INPUT_IN(arena) : input;
    net_output_t *const out = inside ? NET_OUTPUT_IN(arena) : output;
    (void)argv;
    srand(7);
    for (size_t i = 0; i < NET_INPUT_ELEMENTS; i++)
        kept[i] = in[i] = (net_input_t)(rand() % 256 - 128);
    if (net_run(arena, in, out) != NET_OK)
        return 2;
    memcpy(again, out, sizeof again);
    if (memcmp(in, kept, sizeof kept) != 0)
        return 3;                               /* the input was destroyed */
    memset(arena, 0x11, sizeof arena);
    memcpy(in, kept, sizeof kept);
    if (net_run(arena, in, out) != NET_OK)
        return 2;
    return memcmp(out, again, sizeof again) == 0 ? 0 : 4;
}
"""


@pytest.mark.parametrize("name", SMALL)
def test_the_caller_s_input_is_kept_and_the_arena_s_may_be_destroyed(name: str, tmp_path: Path) -> None:
    graph = SMALL[name]
    schedule = layer_by_layer(graph, None, Tiling())
    placed = plan(graph, schedule)
    sources = host.write_sources(emit(graph, schedule, placed, "net", "test", 16, 1024), tmp_path)
    (tmp_path / "kept.c").write_text(KEPT)
    program = build_host_executable([*sources, tmp_path / "kept.c"], [tmp_path], tmp_path / "kept", sanitize=True)
    assert subprocess.run([program], check=False).returncode == 0
    # here the input's bytes are used again once it is dead, which the header says
    assert subprocess.run([program, "inside"], check=False).returncode == 3
    assert placed.work <= placed.arena
    runs_right(SMALL[name], tmp_path / "right")
