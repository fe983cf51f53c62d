"""Concatenations and slices that copy nothing: the same numbers, no byte overwritten too early, less memory and time.

Three nets under it: a replay of the plan in Python on hundreds of networks, in which every byte of memory knows what
it is; the generated C with sanitizers; and cases by hand where a copy must stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from harness import (
    RNG,
    STRICT,
    TILINGS,
    activation,
    assert_equal,
    bias,
    constant,
    merged,
    run_reference,
    samples,
    tflite_graph,
    weights,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from joined_blocks import joined_blocks
from random_networks import networks

from mcuc import ops, passes
from mcuc.emit.model import emit
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.image import build_image
from mcuc.ir import Array, Graph, Node, Tensor, check
from mcuc.kernels._base import Call, Rows
from mcuc.passes.fold_zero_points import fold_zero_points
from mcuc.plan import Plan, plan
from mcuc.request import Request
from mcuc.schedule import Layer, Schedule, Segment, Tiling
from mcuc.schedule.explore import explore, layer_by_layer, layers_of
from mcuc.schedule.lives import lives_of, needed_whole
from mcuc.schedule.partition import front, units
from mcuc.schedule.select import retile
from mcuc.schedule.stream import make_stream, members_of, stream_segment
from mcuc.schedule.units import alone
from mcuc.schedule.variants import PER_COPIED_BYTE, front_of_both
from mcuc.schedule.views import moved_bytes, without_copies
from mcuc.targets import load_board
from mcuc.verify import reference
from mcuc.verify.compare import emulated, expected, first_difference_host, fnv1a

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
CUTS = (*TILINGS.values(), Tiling(columns=3), Tiling(channels=1))
BOARD = "mps2-an386"  # a Cortex-M4
MIXED = st.one_of(joined_blocks(), joined_blocks(), networks())
Step = tuple[str, str, str, Sequence[int]]


def scheduled(graph: Graph, tilings: Sequence[Tiling] = (Tiling(),), seed: int = 0) -> Schedule:
    """Every layer alone and cut in one of these ways, without copies."""
    rng = RNG(seed)
    layers = without_copies(layers_of(graph, None, Tiling()), graph)
    cut: tuple[Layer, ...] = tuple(retile(layer, tilings[rng.integers(len(tilings))]) for layer in layers)
    return Schedule(Segment("layers", cut))


# The plan, byte by byte


def tags_of(graph: Graph) -> dict[str, Array]:
    """A number for every byte of every tensor; bytes that are only moved keep theirs."""
    found: dict[str, Array] = {}
    used = 1

    def in_bytes(name: str) -> tuple[int, ...]:
        t = graph.tensors[name]
        return t.shape if t.dtype.bytes == 1 else (*t.shape, t.dtype.bytes)

    def fresh(name: str) -> Array:
        nonlocal used
        shape = in_bytes(name)
        used += int(np.prod(shape))
        return np.arange(used - int(np.prod(shape)), used).reshape(shape)

    found.update({n: fresh(n) for n in graph.inputs})
    for node in graph.nodes:
        out = node.outputs[0]
        if ops.get(node.op).alias:
            found[out] = found[node.inputs[0]].reshape(in_bytes(out))
        elif node.op == "slice":
            source = graph.tensors[node.inputs[0]]
            elements = found[source.name].view(f"V{8 * source.dtype.bytes}").reshape(source.shape)
            (cut,) = ops.get("slice").reference(node.attrs, [elements])
            found[out] = np.ascontiguousarray(cut).view(np.int64).reshape(in_bytes(out))
        elif node.op == "concat":
            pairs = zip(node.inputs, node.attrs.tables, strict=True)
            parts = [fresh(n) if table or n not in found else found[n] for n, table in pairs]  # constants too
            found[out] = np.ascontiguousarray(np.concatenate(parts, node.attrs.axis))
        else:
            found[out] = fresh(out)
    return found


def bytes_read(call: Call, rows: Rows, size: int) -> Array:
    """Whether a call reads each byte of an input, by rows; those that a stride skips it does not."""
    if call.height == 1 or rows.columns is None:
        return np.ones(size, bool)
    first = [rows.index[y] if rows.index else y * rows.stride - rows.pad for y in range(call.height)]
    read = {top + k * rows.dilation for top in first for k in range(1 if rows.index else rows.count)}
    return np.isin(np.arange(size) // rows.row_bytes, list(read & set(range(rows.height))))


def replay(graph: Graph, schedule: Schedule, placed: Plan, outside: bool) -> int:
    """Runs the plan on memory of tags; bytes that concatenations and slices moved. Every layer must find the rows of
    its inputs that it reads, and leave its output whole. outside: the caller keeps input and output."""
    tags = tags_of(graph)
    ends = (*graph.inputs, *graph.outputs)
    assert len({placed.storage[n] for n in ends}) == len(ends), "two of the caller's buffers are one"
    own = {placed.storage[n]: np.zeros(graph.tensors[n].bytes, np.int64) for n in ends} if outside else {}
    arena = np.zeros(placed.work if outside else placed.arena, np.int64)
    pitch = {layer.node.outputs[0]: layer.pitch for layer in schedule.layers}
    moved = 0

    def bytes_of(name: str) -> tuple[Array, Array]:
        """The memory that a tensor lies in, and where each of its bytes is."""
        tensor, root = graph.tensors[name], placed.storage[name]
        at = np.arange(tensor.bytes)
        if pitch.get(name):
            pixel = tensor.shape[-1] * tensor.dtype.bytes
            at = at // pixel * pitch[name] + at % pixel
        if root in own:
            return own[root], at + placed.tensors[name] - placed.offsets[root]
        return arena, at + placed.tensors[name]

    def whole(name: str, some: Array | slice = slice(None)) -> bool:
        memory, at = bytes_of(name)
        assert at.min() >= 0 and at.max() < len(memory), f"{name} ends beyond its memory"
        return bool((memory[at] == tags[name].reshape(-1))[some].all())

    for name in graph.inputs:
        memory, at = bytes_of(name)
        memory[at] = tags[name].reshape(-1)
    for layer in schedule.layers:
        node, out = layer.node, layer.node.outputs[0]
        if layer.scratch:
            arena[placed.scratch[node.name] : placed.scratch[node.name] + layer.scratch] = -1
        names = graph.runtime_inputs(node)
        for call, _ in layer.calls:
            for rows in call.rows:
                name = names[rows.input]
                read = bytes_read(call, rows, graph.tensors[name].bytes)
                assert whole(name, read), f"{node.name} finds {name} overwritten"
        memory, at = bytes_of(out)
        for call, _ in layer.calls:
            y, x, c = np.ogrid[: call.height, : call.width, : call.channels]
            spots = (call.out_offset + y * call.out_row_bytes + x * call.out_stride + c).reshape(-1)
            pixel = graph.tensors[out].shape[-1] * graph.tensors[out].dtype.bytes
            apart, pixel = (layer.pitch, pixel) if layer.pitch else (1, 1)
            index = spots // apart * pixel + spots % apart
            assert (at[index] == at[0] + spots).all(), f"{node.name} writes beside {out}"
            memory[at[index]] = tags[out].reshape(-1)[index]
            moved += spots.size if node.op in ("concat", "slice") else 0
        assert whole(out), f"{node.name} leaves {out} in part"
    for name in graph.outputs:
        assert whole(name), f"the output {name} is overwritten"
    for name in graph.inputs:
        assert not outside or whole(name), f"the caller's input {name} is overwritten"
    return moved


@settings(CHECKED, max_examples=150)
@given(MIXED)
def test_every_layer_finds_its_inputs_and_leaves_its_output_whole(graph: Graph) -> None:
    optimized = passes.optimize(graph)
    copying, direct = layer_by_layer(optimized, None, Tiling()), scheduled(optimized)
    placed = plan(optimized, direct, fast=True)
    assert placed.lower_bound <= placed.arena and placed.work <= placed.arena
    for outside in (False, True):
        assert replay(optimized, direct, placed, outside) == moved_bytes(direct.layers) <= moved_bytes(copying.layers)


def test_the_generator_makes_what_it_is_for() -> None:
    """Among its networks many parts are written pixel by pixel, some through several concatenations."""
    seen = {"apart": 0, "nested": 0, "one run": 0, "sliced": 0, "kept": 0}

    @settings(CHECKED, max_examples=100, phases=[Phase.generate])
    @given(joined_blocks())
    def count(graph: Graph) -> None:
        optimized = passes.optimize(graph)
        for layer in scheduled(optimized).layers:
            seen["apart"] += layer.pitch > 0
            seen["nested"] += layer.pitch > 0 and layer.node.op == "concat"
            seen["one run"] += layer.into not in ("", layer.node.outputs[0]) and not layer.pitch and bool(layer.calls)
            seen["sliced"] += layer.node.op == "slice" and not layer.calls
            seen["kept"] += layer.node.op == "concat" and bool(layer.calls)

    count()
    assert all(n >= 10 for n in seen.values()), seen


@settings(CHECKED, max_examples=60)
@given(st.one_of(joined_blocks(), networks()))
def test_no_plan_is_below_its_candidate_s_peak(graph: Graph) -> None:
    """fit leaves candidates out whose peak is over the budget."""
    for candidate in explore(passes.optimize(graph), None, "sram").candidates:
        assert candidate.peak <= plan(candidate.graph, candidate.schedule, fast=True).arena


@settings(CHECKED, max_examples=60)
@given(joined_blocks())
def test_mixed_schedules_are_no_worse_than_those_that_copy_everywhere_or_nowhere(graph: Graph) -> None:
    optimized = passes.optimize(graph)
    copying = layers_of(optimized, None, Tiling())
    direct = without_copies(copying, optimized)
    found = [partition for partition, _ in front_of_both(copying, direct, optimized)]
    assert [p.cost for p in found] == sorted(p.cost for p in found)
    assert [p.peak for p in found] == sorted({p.peak for p in found}, reverse=True)
    copies = PER_COPIED_BYTE * (moved_bytes(copying) - moved_bytes(direct))
    everywhere = [(p.peak, p.cost + copies) for p in front(units(copying, optimized), len(copying))]
    lives = lives_of(direct, optimized)
    nowhere = max(alone(direct, k, optimized, lives).peak for k in range(len(direct)))
    for peak, cost in (*everywhere, (nowhere, 0)):
        assert any(p.peak <= peak and p.cost <= cost for p in found)


# The generated C


def assert_same_in_c(graph: Graph, optimized: Graph, schedule: Schedule, trace: bool = False) -> None:
    """With sanitizers and warnings as errors, in both buffer modes. trace: every layer's hash is its reference's."""
    emitted = emit(optimized, schedule, plan(optimized, schedule), "net", "test", 16, 1024)
    inputs = samples(graph, 4)
    wanted = run_reference(graph, inputs)
    with TemporaryDirectory() as folder:
        model = host.build(emitted, optimized, Path(folder), trace=trace, sanitize=True, extra_flags=STRICT)
        for inside in (False, True):
            run = host.run(model, inputs, inside=inside)
            assert_equal(wanted, [[o[n] for o in run.outputs] for n in range(len(inputs))], f"{inside=}\n{graph}")
            if trace:
                made = [layer.node.outputs[0] for layer in schedule.layers if layer.calls]
                for sample, hashes in zip(inputs, run.hashes, strict=True):
                    values = reference.run(optimized, dict(zip(optimized.inputs, sample, strict=True)))
                    assert [fnv1a(values[n].tobytes()) for n in made] == hashes.tolist()


@settings(CHECKED, max_examples=5, phases=[Phase.generate])
@given(st.lists(MIXED, min_size=8, max_size=8), st.integers(0, 1 << 20))
def test_the_c_of_random_blocks_equals_the_reference(graphs: list[Graph], seed: int) -> None:
    """Eight networks side by side in one, every layer cut at random, every layer's output traced."""
    whole = merged(graphs)
    optimized = passes.optimize(whole)
    assert_same_in_c(whole, optimized, scheduled(optimized, CUTS, seed), trace=True)


@settings(CHECKED, max_examples=5, phases=[Phase.generate])
@given(joined_blocks())
def test_the_c_of_candidates_equals_the_reference(graph: Graph) -> None:
    """The smallest, which often runs in streams, and one in the middle, of which a part may copy."""
    candidates = explore(passes.optimize(graph), None, "latency").candidates
    for candidate in dict.fromkeys((candidates[-1], candidates[len(candidates) // 2])):
        assert_same_in_c(graph, candidate.graph, candidate.schedule)


# By hand


def network(steps: Sequence[Step], inputs: dict[str, Sequence[int]], outputs: str) -> Graph:
    """Steps (operator, run-time inputs, output, its shape), all of one scale. CONV_2D k: k by k; CONCATENATION a:
    along axis a, with ! into another scale; SLICE b: from the numbers b on."""
    known: dict[str, Tensor] = {n: activation(n, s, 1 / 256, -128) for n, s in inputs.items()}
    tensors, nodes, rng = dict(known), list[Node](), RNG(3)
    for what, reads, out, shape in steps:
        kind, _, option = what.partition(" ")
        y = activation(out, shape, 1 / (200 if "!" in option else 256), -128)
        arguments = [known[n] for n in reads.split()]
        x = arguments[0]
        fields: dict[str, object] = {}
        if kind == "CONV_2D":
            w = weights(rng, (shape[3], int(option), int(option), x.shape[3]))
            arguments += [w, bias(rng, x, w, shape[3])]
            fields = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
        elif kind == "MAX_POOL_2D":
            fields = {"padding": 0, "strideH": 1, "strideW": 1, "filterHeight": 3, "filterWidth": 3}
        elif kind == "CONCATENATION":
            fields = {"axis": int(option.rstrip("!"))}
        elif kind == "RESHAPE":
            arguments.append(constant("shape", np.array(shape, np.int32)))
        elif kind == "SLICE":
            arguments += [constant(n, np.array(v, np.int32)) for n, v in (("begin", option.split()), ("size", shape))]
        known[out] = y
        named = [t if t.data is None else replace(t, name=f"{out}/{t.name}") for t in arguments]
        made = tflite_graph(kind, named, y, **fields)
        tensors.update(made.tensors)
        nodes.append(replace(made.nodes[0], name=out))
    return fold_zero_points(check(Graph("net", "tflite", tensors, tuple(nodes), tuple(inputs), tuple(outputs.split()))))


A, B, BOTH = (1, 4, 5, 3), (1, 4, 5, 6), (1, 4, 5, 9)
PARTS = [("CONV_2D 1", "x", "a", A), ("CONV_2D 3", "x", "b", B)]
JOIN = ("CONCATENATION 3", "a b", "y", BOTH)
X = {"x": (1, 4, 5, 4)}


def layer_of(graph: Graph, name: str, pushed: str | None = None) -> Layer:
    layers = without_copies(layers_of(graph, None, Tiling()), graph, pushed)
    (found,) = [layer for layer in layers if layer.node.outputs[0] == name]
    return found


def place(layer: Layer) -> tuple[str, int, int]:
    return layer.into, layer.at, layer.pitch


def kept(graph: Graph, name: str, pushed: str | None = None) -> list[int]:
    """Which inputs the layer still copies."""
    return [call.rows[0].input for call, _ in layer_of(graph, name, pushed).calls]


def test_parts_along_the_channels_are_written_pixel_by_pixel_and_nothing_is_copied() -> None:
    graph = network([*PARTS, JOIN], X, "y")
    assert place(layer_of(graph, "a")) == ("y", 0, 9)
    assert place(layer_of(graph, "b")) == ("y", 3, 9)
    assert kept(graph, "y") == []
    assert place(layer_of(graph, "y")) == ("y", 0, 0)
    placed = plan(graph, scheduled(graph))
    assert placed.storage["a"] == placed.storage["b"] == placed.storage["y"] == "y"
    assert placed.tensors["b"] == placed.tensors["y"] + 3


def test_concatenations_of_concatenations_are_followed_to_the_last() -> None:
    steps = [*PARTS, JOIN, ("MAX_POOL_2D", "x", "c", (1, 4, 5, 4)), ("CONCATENATION 3", "c y", "z", (1, 4, 5, 13)),
             ("CONV_2D 1", "z", "w", A)]
    graph = network(steps, X, "w")
    assert place(layer_of(graph, "a")) == ("z", 4, 13)
    assert place(layer_of(graph, "b")) == ("z", 7, 13)
    assert place(layer_of(graph, "c")) == ("z", 0, 13)
    assert place(layer_of(graph, "y")) == ("z", 4, 13)
    assert kept(graph, "y") == kept(graph, "z") == []


def test_what_a_nested_concatenation_still_copies_goes_to_the_last_as_well() -> None:
    steps = [("CONV_2D 1", "x", "a", A), ("CONCATENATION 3", "a x", "y", (1, 4, 5, 7)), ("CONV_2D 1", "x", "c", A),
             ("CONCATENATION 3", "y c", "z", (1, 4, 5, 10))]
    graph = network(steps, X, "z")
    assert kept(graph, "y") == [1]
    assert place(layer_of(graph, "y")) == ("z", 0, 10)
    assert layer_of(graph, "y").calls[0][0].out_stride == 10


def test_images_joined_below_each_other_hold_parts_along_the_channels() -> None:
    steps = [*PARTS, JOIN, ("CONV_2D 1", "x", "c", BOTH), ("CONCATENATION 1", "c y", "z", (1, 8, 5, 9)),
             ("CONV_2D 1", "z", "w", (1, 8, 5, 2))]
    graph = network(steps, X, "w")
    assert place(layer_of(graph, "c")) == ("z", 0, 0)
    assert place(layer_of(graph, "a")) == ("z", 180, 9)
    assert kept(graph, "y") == kept(graph, "z") == []


def test_an_image_of_images_below_each_other_is_copied_into_one_along_the_channels() -> None:
    steps = [("CONV_2D 1", "x", "a", A), ("CONV_2D 1", "x", "b", A), ("CONCATENATION 1", "a b", "y", (1, 8, 5, 3)),
             ("CONCATENATION 1", "x x", "v", (1, 8, 5, 4)), ("CONV_2D 1", "v", "c", (1, 8, 5, 2)),
             ("CONCATENATION 3", "y c", "z", (1, 8, 5, 5))]
    graph = network(steps, X, "z")
    assert place(layer_of(graph, "b")) == ("y", 60, 0)
    assert kept(graph, "z") == [0]


STAY = {
    "another reader": ([*PARTS, JOIN, ("CONV_2D 1", "a", "w", A)], "y w", [0]),
    "a model output": ([*PARTS, JOIN], "y a", [0]),
    "a model input": ([PARTS[0], ("CONCATENATION 3", "a x", "y", (1, 4, 5, 7))], "y", [1]),
    "another scale": ([*PARTS, ("CONCATENATION 3!", "a b", "y", BOTH)], "y", [0, 1]),
    "twice a part": ([PARTS[0], ("CONCATENATION 3", "a a", "y", B)], "y", [0, 1]),
    "a part of two": (
        [*PARTS, JOIN, ("CONV_2D 1", "x", "c", A), ("CONCATENATION 3", "a c", "w", B)], "y w", [0]
    ),
    "reshaped": (
        [("CONV_2D 1", "x", "d", (1, 5, 4, 3)), ("RESHAPE", "d", "a", A), PARTS[1], JOIN], "y", [0]
    ),
    "another axis": (
        [PARTS[0], ("CONV_2D 1", "x", "b", A), ("CONCATENATION 2", "a b", "y", (1, 4, 10, 3))], "y", [0, 1]
    ),
    "read where its source lies": (
        [("CONCATENATION 1", "x x", "v", (1, 8, 5, 4)), ("CONV_2D 1", "v", "d", (1, 8, 5, 3)),
         ("SLICE 0 1 0 0", "d", "a", A), PARTS[1], JOIN],
        "y",
        [0],
    ),
}


@pytest.mark.parametrize("case", STAY)
def test_which_copies_stay(case: str) -> None:
    steps, outputs, stay = STAY[case]
    graph = network(steps, X, outputs)
    assert kept(graph, "y") == stay
    assert_same_in_c(graph, graph, scheduled(graph), trace=True)


def test_a_copy_without_gain_is_no_other_schedule() -> None:
    graph = network([PARTS[0], ("CONCATENATION 3", "x a", "v", (1, 4, 5, 7)), ("CONV_2D 1", "a", "y", A)], X, "v y")
    layers = layers_of(graph, None, Tiling())
    assert without_copies(layers, graph) == layers


def test_one_layer_does_not_write_over_a_slice_that_reaches_into_another_input() -> None:
    """The sum of a tensor and itself one row further down; what lies over the first slice is written row by row."""
    rows = (1, 3, 5, 3)
    steps = [PARTS[0], ("SLICE 0 0 0 0", "a", "s", rows), ("SLICE 0 1 0 0", "a", "t", rows), ("ADD", "s t", "u", rows),
             ("CONV_2D 3", "u", "y", rows)]
    graph = network(steps, X, "y")
    placed = plan(graph, scheduled(graph))
    assert placed.storage["s"] == placed.storage["t"] == "a"
    assert placed.storage["u"] == "u"
    assert_same_in_c(graph, graph, scheduled(graph))


def test_a_layer_writes_over_a_slice_of_a_dying_tensor() -> None:
    rows = (1, 2, 5, 3)
    steps = [PARTS[0], ("SLICE 0 0 0 0", "a", "s", rows), ("SLICE 0 2 0 0", "a", "t", rows), ("MUL", "s t", "u", rows),
             ("CONV_2D 3", "u", "y", rows)]
    graph = network(steps, X, "y")
    placed = plan(graph, scheduled(graph))
    assert placed.storage["u"] == "a" and placed.tensors["u"] in (placed.tensors["s"], placed.tensors["t"])
    assert_same_in_c(graph, graph, scheduled(graph))


def test_an_element_wise_layer_writes_into_the_concatenation_and_not_over_its_dying_input() -> None:
    steps = [("CONV_2D 1", "x", "d", A), ("LOGISTIC", "d", "a", A), PARTS[1], JOIN, ("CONV_2D 3", "y", "z", A)]
    graph = network(steps, X, "z")
    assert plan(graph, layer_by_layer(graph, None, Tiling())).storage["a"] == "d"
    placed = plan(graph, scheduled(graph))
    assert placed.storage["a"] == "y" and placed.storage["d"] == "d"
    assert_same_in_c(graph, graph, scheduled(graph))


def test_a_stream_over_a_concatenation_that_still_copies_keeps_it_whole() -> None:
    """Of pixels, where the channels of a part are one run of bytes and its producer can be a member."""
    steps = [("CONV_2D 1", "x", "a", (1, 1, 1, 4)), ("CONCATENATION 3", "a x", "y", (1, 1, 1, 8)),
             ("CONV_2D 1", "y", "z", (1, 1, 1, 4))]
    graph = network(steps, {"x": (1, 1, 1, 4)}, "z")
    layers = scheduled(graph).layers
    whole = needed_whole(layers, 0, 3, graph, lives_of(layers, graph))
    assert whole == {"a", "y", "z"}
    members = members_of(layers, graph, whole)
    assert members is not None
    assert_same_in_c(graph, graph, Schedule(Segment("layers", (stream_segment(members, make_stream(members, graph)),))))


def test_one_block_copies_within_a_stream_and_another_does_not_copy() -> None:
    """Two fire modules as in SqueezeNet, the first with the larger tensors."""
    steps: list[Step] = [("CONV_2D 3", "x", "s", (1, 8, 8, 12))]
    for n, (squeezed, expanded, reads) in enumerate([(2, 16, "s"), (4, 6, "z")]):
        steps += [("CONV_2D 1", reads, f"q{n}", (1, 8, 8, squeezed)),
                  ("CONV_2D 1", f"q{n}", f"e{n}", (1, 8, 8, expanded)),
                  ("CONV_2D 3", f"q{n}", f"f{n}", (1, 8, 8, expanded)),
                  ("CONCATENATION 3", f"e{n} f{n}", f"y{n}", (1, 8, 8, 2 * expanded))]
        steps += [("CONV_2D 1", "y0", "z", (1, 8, 8, 4))] if n == 0 else []
    candidates = explore(network(steps, {"x": (1, 8, 8, 3)}, "y1"), None, "latency").candidates
    assert {layer.node.name for layer in candidates[0].layers if layer.into} == {"e0", "f0", "y0", "e1", "f1", "y1"}
    mixed = [c for c in candidates if {layer.node.name for layer in c.layers if layer.into} == {"e1", "f1", "y1"}]
    assert mixed and mixed[-1].peak < candidates[0].peak / 2
    streamed = [layer.node.name for u in mixed[-1].schedule.segments if isinstance(u, Segment) for layer in u.members
                if isinstance(layer, Layer)]
    assert "y0" in streamed
    assert_same_in_c(mixed[-1].graph, mixed[-1].graph, mixed[-1].schedule)


# Rows in


def test_an_input_that_arrives_by_rows_holds_nothing_and_outputs_hold_no_parts() -> None:
    steps = [("SLICE 0 1 0 0", "x", "s", (1, 2, 5, 4)), ("CONV_2D 1", "s", "c", (1, 2, 5, 4)), *PARTS, JOIN,
             ("CONV_2D 1", "x", "d", A), ("CONV_2D 1", "x", "e", A), ("CONCATENATION 1", "d e", "z", (1, 8, 5, 3))]
    graph = network(steps, X, "c y z")
    assert kept(graph, "s") == [] and kept(graph, "y") == [] and kept(graph, "z") == []
    assert kept(graph, "s", pushed="x") == [0]
    assert kept(graph, "y", pushed="x") == kept(graph, "z", pushed="x") == [0, 1]


def test_rows_in_and_no_copies_behind_them() -> None:
    steps = [("CONV_2D 3", "x", "d", (1, 4, 5, 8)), ("CONV_2D 1", "d", "a", A), ("CONV_2D 3", "d", "b", B), JOIN,
             ("CONV_2D 3", "y", "z", A)]
    graph = network(steps, X, "z")
    candidates = explore(graph, None, "latency", pushed="x").candidates
    direct = [c for c in candidates if any(layer.into for layer in c.layers)]
    assert direct
    assert_same_in_c(graph, direct[0].graph, direct[0].schedule)


def test_layers_that_read_an_input_by_rows_copy_in_its_stream() -> None:
    """Both parts read it, so that the stream that takes it in has to hold the concatenation."""
    graph = network([*PARTS, JOIN, ("CONV_2D 3", "y", "z", A)], X, "z")
    candidates = explore(graph, None, "latency", pushed="x").candidates
    assert candidates
    for candidate in candidates:
        first = candidate.schedule.segments[0]
        assert isinstance(first, Segment) and first.stream is not None and first.stream.pushed == "x"
        assert_same_in_c(graph, candidate.graph, candidate.schedule)


# What it is for


def inception() -> Graph:
    """Four branches over an image of 12x12x16, as in GoogLeNet, the concatenation read by a convolution."""
    image = (1, 12, 12, 16)

    def of(channels: int) -> tuple[int, ...]:
        return (1, 12, 12, channels)

    steps = [("CONV_2D 1", "x", "a", of(8)), ("CONV_2D 1", "x", "b1", of(6)), ("CONV_2D 3", "b1", "b", of(16)),
             ("CONV_2D 1", "x", "c1", of(2)), ("CONV_2D 3", "c1", "c", of(4)), ("MAX_POOL_2D", "x", "d1", image),
             ("CONV_2D 1", "d1", "d", of(4)), ("CONCATENATION 3", "a b c d", "y", of(32)),
             ("CONV_2D 1", "y", "z", of(4))]
    return network(steps, {"x": image}, "z")


def test_an_inception_block_takes_less_memory_and_fewer_instructions(tmp_path: Path) -> None:
    graph, board = inception(), load_board(BOARD)
    copying, direct = layer_by_layer(graph, None, Tiling()), scheduled(graph)
    counted = []
    for n, schedule in enumerate((copying, direct)):
        placed = plan(graph, schedule)
        emitted = emit(graph, schedule, placed, "net", "test", board.chip.arena_align, 1024)
        core = CortexM(build_image(emitted, board, Request(), tmp_path / str(n)).elf, board.chip, emitted.symbols)
        (sample,) = samples(graph, 4)[3:]
        outs, run = emulated(core, graph, placed, sample)
        assert (outs[0] == expected(graph, [sample])[0]).all()
        counted.append((placed.arena, run.instructions))
    (arena, instructions), (less, fewer) = counted
    copied = graph.tensors["y"].bytes
    assert moved_bytes(copying.layers) == copied and moved_bytes(direct.layers) == 0
    assert less < arena
    assert copied // 4 < instructions - fewer < 4 * copied, "a copy takes a few instructions for every byte or four"
    assert explore(graph, board.chip, "latency").candidates[0].schedule.layers[-2].calls == ()


def test_verification_names_a_layer_that_writes_into_a_concatenation(tmp_path: Path) -> None:
    """One wrong bias of a branch: its own trace differs, not that of the concatenation, which computes nothing."""
    graph = inception()
    schedule = scheduled(graph)
    emitted = emit(graph, schedule, plan(graph, schedule), "net", "test", 16, 1024)
    number = [layer.node.outputs[0] for layer in schedule.layers if layer.calls].index("c")
    source = emitted.files["net_weights.c"]
    head, tail = source.split(f"net_l{number:02d}_bias[4] = {{\n")
    values, rest = tail.split("\n};", 1)
    spoilt = ", ".join(str(int(v) + 40000) for v in values.replace(",", " ").split())
    changed = f"{head}net_l{number:02d}_bias[4] = {{\n{spoilt}\n}};{rest}"
    broken = replace(emitted, files={**emitted.files, "net_weights.c": changed})
    (sample,) = samples(graph, 4)[3:]
    assert first_difference_host(graph, schedule, broken, sample, tmp_path).startswith("c, tensor 'c'")
