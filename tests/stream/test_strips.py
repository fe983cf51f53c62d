"""Streams in strips of columns against plain execution: the generated C, its traces, lifetimes, counted MACs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from harness import RNG, STRICT, assert_equal, run_reference, samples
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from random_networks import (
    Growing,
    add_step,
    binary,
    concat,
    constant,
    conv,
    depthwise,
    element_wise,
    fresh,
    networks,
    pad,
    pool,
)

from mcuc import passes
from mcuc.emit.model import emit
from mcuc.emit.traced import traced
from mcuc.emulate import host
from mcuc.importers import load
from mcuc.ir import Graph, Tensor, check
from mcuc.plan import live_bytes, plan
from mcuc.plan.accesses import accesses, stream_accesses
from mcuc.plan.lifetimes import lifetimes
from mcuc.schedule import Layer, Schedule, Segment, Stream, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.schedule.lives import lives_of
from mcuc.schedule.partition import front, schedule_of, units
from mcuc.schedule.stream import Member, make_stream, members_of, segment_members, stream_segment
from mcuc.schedule.strips import strips_of
from mcuc.schedule.units import stream_unit
from mcuc.verify import reference
from mcuc.verify.compare import fnv1a
from mcuc.verify.samples import random_samples

BLOCKS = (0, 0, 1, 2, 3, 5)
CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def needed_whole(layers: Sequence[Layer], begin: int, end: int, graph: Graph) -> frozenset[str]:
    """Outputs of layers [begin, end) that the model or later layers need."""
    made = {layer.node.outputs[0] for layer in layers[begin:end]}
    return frozenset(made & ({n for layer in layers[end:] for n in layer.node.inputs} | set(graph.outputs)))


def cut_in_strips(graph: Graph, seed: int) -> tuple[Schedule, list[tuple[Member, ...]]]:
    """A schedule of the longest runs, from random layers on, that can be cut into strips, and their members."""
    rng = np.random.default_rng(seed)
    layers = layer_by_layer(graph, None, Tiling()).layers
    units: list[Layer | Segment] = []
    found = []
    at = 0
    while at < len(layers):
        made = None
        for end in range(min(len(layers), at + int(rng.integers(1, 12))), at, -1):
            members = members_of(layers[at:end], graph, needed_whole(layers, at, end, graph))
            strips = None if members is None else strips_of(members, int(rng.integers(2, 5)))
            if members is not None and strips is not None:
                stream = make_stream(members, graph, int(rng.choice(BLOCKS)), strips=strips)
                made = stream_segment(members, stream)
                found.append(members)
                break
        units.append(layers[at] if made is None else made)
        at += 1 if made is None else len(made.members)
    return Schedule(Segment("layers", tuple(units))), found


@st.composite
def images(draw: Callable[..., Any]) -> Graph:
    """Convolutions, pools, borders and joins on one image, then perhaps a mean: runs that can be cut into strips."""
    g = Growing(draw, RNG(draw(st.integers(0, 2**32 - 1))))
    x = fresh(g, (1, g.pick(2, 9), g.pick(7, 17), g.pick(1, 4)))
    g.values.append(x)
    g.tensors[x.name] = x
    steps = (conv, conv, depthwise, depthwise, pool, pad, element_wise, binary, concat)
    for _ in range(g.pick(2, 9)):
        behind = g.values[-1] if g.pick(0, 2) else g.choose(g.values[-3:])
        g.choose(steps)(g, behind)
    end = g.values[-1]
    if g.pick(0, 2) == 0:
        axes = constant("", np.array([1, 2], np.int32))
        add_step(g, "MEAN", (end, axes), fresh(g, (1, 1, 1, end.shape[3])), keepDims=True)
    made = [n.outputs[0] for n in g.nodes]
    sinks = [n for n in made if n not in {i for node in g.nodes for i in node.inputs}]
    used = {i for n in g.nodes for i in (*n.inputs, *n.outputs)} | {x.name}
    return check(Graph("net", "tflite", {k: v for k, v in g.tensors.items() if k in used}, tuple(g.nodes), (x.name,),
                       tuple(sinks[-3:])))


def check_c(graph: Graph, lowered: Graph, schedule: Schedule, dsp: bool = False) -> None:
    """The C of the schedule equals the reference in both buffer modes, and every layer's traced bytes are its own.
    dsp: with the code for the DSP extension, on the host."""
    placed = plan(lowered, schedule, fast=True)
    emitted = emit(lowered, schedule, placed, "case", "test", 16, 1024)
    inputs = samples(graph, 3)
    wanted = run_reference(graph, inputs)
    values = [reference.run(lowered, dict(zip(lowered.inputs, sample, strict=True))) for sample in inputs]
    hashes = [[fnv1a(data) for _, data in traced(schedule, lowered, v)] for v in values]
    with TemporaryDirectory() as folder:
        model = host.build(
            emitted, lowered, Path(folder), trace=True, sanitize=True, emulate_dsp=dsp, extra_flags=STRICT
        )
        for inside in (False, True):
            ran = host.run(model, inputs, inside=inside, timeout_s=10)
            found = [[out[n] for out in ran.outputs] for n in range(len(inputs))]
            assert_equal(wanted, found, f"inside={inside}\n{lowered}")
            assert [list(row) for row in ran.hashes] == hashes, f"inside={inside}\n{lowered}"


@settings(CHECKED, max_examples=12, phases=[Phase.generate])
@given(images(), st.integers(0, 1 << 20))
def test_the_c_of_images_in_strips_equals_the_reference(graph: Graph, seed: int) -> None:
    lowered = passes.optimize(graph)
    schedule, found = cut_in_strips(lowered, seed)
    assume(found)
    check_c(graph, lowered, schedule, dsp=seed % 2 == 1)


@settings(CHECKED, max_examples=5, phases=[Phase.generate])
@given(networks(), st.integers(0, 1 << 20))
def test_the_c_of_random_networks_in_strips_equals_the_reference(graph: Graph, seed: int) -> None:
    lowered = passes.optimize(graph)
    schedule, found = cut_in_strips(lowered, seed)
    assume(found)
    check_c(graph, lowered, schedule)


def streams_of(schedule: Schedule, graph: Graph) -> list[tuple[Stream, tuple[Member, ...]]]:
    units = [u for u in schedule.segments if isinstance(u, Segment)]
    return [(u.stream, segment_members(u, graph)) for u in units if u.stream is not None]


@settings(CHECKED, max_examples=150, phases=[Phase.generate])
@given(images(), st.integers(0, 1 << 20))
def test_a_strip_has_the_columns_that_it_reads_and_every_last_pixel_is_in_one_strip(graph: Graph, seed: int) -> None:
    lowered = passes.optimize(graph)
    schedule, found = cut_in_strips(lowered, seed)
    assume(found)
    for stream, members in streams_of(schedule, lowered):
        number = {m.output: j for j, m in enumerate(members)}
        for strip in stream.strips:
            for m, (begin, end) in zip(members, strip, strict=True):
                assert 0 <= begin < end <= m.width
                for name, reads in m.inside.items():
                    low, high = strip[number[name]]
                    assert reads.columns is not None
                    for x in range(begin, end):
                        first = x * reads.columns.stride - reads.columns.pad
                        taps = range(first, first + reads.columns.taps)
                        assert all(low <= at < high for at in taps if 0 <= at < members[number[name]].width)
        for j, m in enumerate(members):
            if m.sink:
                computed = [x for strip in stream.strips for x in range(*strip[j])]
                assert computed == list(range(m.width)), m.output
            else:
                assert stream.lines[m.output].width == max(end - begin for begin, end in (s[j] for s in stream.strips))


@settings(CHECKED, max_examples=150, phases=[Phase.generate])
@given(images(), st.integers(0, 1 << 20))
def test_recomputed_macs_are_those_of_pixels_counted_one_by_one(graph: Graph, seed: int) -> None:
    lowered = passes.optimize(graph)
    schedule, found = cut_in_strips(lowered, seed)
    assume(found)
    wanted = 0
    for stream, members in streams_of(schedule, lowered):
        for j, m in enumerate(members):
            rows = sum(p >> j & 1 for p in stream.passes)
            times = np.zeros((rows, m.width), int)
            for strip in stream.strips:
                times[:, strip[j][0] : strip[j][1]] += 1
            a_pixel, rest = divmod(m.layer.macs, m.width * m.height)
            assert rest == 0
            wanted += a_pixel * int(np.maximum(times - 1, 0).sum())
    assert schedule.recomputed == wanted


@settings(CHECKED, max_examples=100, phases=[Phase.generate])
@given(images(), st.integers(0, 1 << 20))
def test_bytes_are_alive_from_the_first_strip_that_writes_to_the_last_that_reads_them(graph: Graph, seed: int) -> None:
    """Against every row of every pass of every strip; the rows and columns come from the calls."""
    lowered = passes.optimize(graph)
    schedule, found = cut_in_strips(lowered, seed)
    assume(found)
    for unit in schedule.segments:
        if isinstance(unit, Layer):
            continue
        assert unit.stream is not None
        known = accesses(unit, lowered)
        assert known.ticks == unit.stream.ticks
        for name, write, start, end, tick in touches(unit, lowered):
            pieces = (known.writes if write else known.reads)[name]
            covering = [p for p in pieces if p[0] < end and start < p[1]]
            assert sum(min(p[1], end) - max(p[0], start) for p in covering) == end - start
            assert all(p[2] <= tick if write else p[2] >= tick for p in covering)


def touches(unit: Segment, graph: Graph) -> Iterator[tuple[str, bool, int, int, int]]:
    """(tensor, written, first byte, end, tick) of what a stream in strips touches of tensors that are kept whole."""
    stream, members = unit.stream, segment_members(unit, graph)
    assert stream is not None
    for n, strip in enumerate(stream.strips):
        rows = [0] * len(members)
        for p, mask in enumerate(stream.passes):
            tick = n * len(stream.passes) + p
            for j, m in enumerate(members):
                if not mask >> j & 1:
                    continue
                y, (begin, end) = rows[j], strip[j]
                rows[j] += 1
                names = graph.runtime_inputs(m.layer.node)
                for call, _ in m.layer.calls:
                    for r in call.rows:
                        if names[r.input] not in m.outside:
                            continue
                        top = r.index[y] if r.index else y * r.stride - r.pad
                        for row in {top + k * r.dilation for k in range(r.count)}:
                            if 0 <= row < r.height:
                                yield names[r.input], False, row * r.row_bytes, (row + 1) * r.row_bytes, tick
                size = graph.tensors[m.output].bytes
                if m.sink and m.layer.reduction is not None:
                    if n == len(stream.strips) - 1 and y == m.height - 1:
                        yield m.output, True, 0, size, tick
                elif m.sink:
                    pixel = size // (m.height * m.width)
                    at = y * m.width * pixel
                    yield m.output, True, at + begin * pixel, at + end * pixel, tick


def chain(*steps: Callable[[Growing, Tensor], None], shape: Sequence[int] = (1, 6, 12, 3)) -> Graph:
    """The steps one after the other, with kernels of 3x3, everything else the first that there is to choose."""
    g = Growing(lambda s: None, RNG(7))
    g.pick = lambda low, high: low  # type: ignore[method-assign]
    g.choose = lambda options: 3 if list(options) == [1, 2, 3] else options[0]  # type: ignore[method-assign]
    x = fresh(g, shape)
    g.values.append(x)
    g.tensors[x.name] = x
    for step in steps:
        step(g, g.values[-1])
    return check(Graph("chain", "tflite", dict(g.tensors), tuple(g.nodes), (x.name,), (g.values[-1].name,)))


def stream_members(graph: Graph, whole: Sequence[str] = ()) -> tuple[Member, ...]:
    layers = layer_by_layer(passes.optimize(graph), None, Tiling()).layers
    members = members_of(layers, passes.optimize(graph), frozenset((*graph.outputs, *whole)))
    assert members is not None
    return members


def test_strips_are_refused_where_they_cannot_be() -> None:
    plain = chain(conv, depthwise, conv)
    assert strips_of(stream_members(plain), 2) is not None
    width = plain.tensors[plain.outputs[0]].shape[2]
    assert strips_of(stream_members(plain), width) is not None
    assert strips_of(stream_members(plain), width + 1) is None, "fewer columns than strips"
    middle = plain.nodes[1].outputs[0]
    assert strips_of(stream_members(plain, [middle]), 2) is None, "a sink that is read inside"


def test_columns_that_are_not_known_are_refused() -> None:
    """A transposition of rows and columns reads a column for every row."""
    def turned(g: Growing, x: Tensor) -> None:
        out = fresh(g, (1, x.shape[1], x.shape[2], x.shape[3]), like=x)
        begin = [constant("", np.array(v, np.int32)) for v in ([0, 0, x.shape[2] - 1, 0], [1, x.shape[1], -99, 99])]
        steps = constant("", np.array([1, 1, -1, 1], np.int32))
        add_step(g, "STRIDED_SLICE", (x, *begin, steps), out, beginMask=11, endMask=15)

    members = stream_members(chain(conv, turned, conv))
    assert any(r.columns is None for m in members for r in m.inside.values())
    assert strips_of(members, 2) is None


@settings(CHECKED, max_examples=5, phases=[Phase.generate])
@given(images())
def test_the_lowest_partition_of_an_image_network_computes_the_same(graph: Graph) -> None:
    """Strips as the search chooses them."""
    lowered = passes.optimize(graph)
    layers = layer_by_layer(lowered, None, Tiling()).layers
    best = front(units(layers, lowered), len(layers))[-1]
    assume(any(unit.strips for unit in best.units))
    check_c(graph, lowered, schedule_of(best, layers, lowered))


@settings(CHECKED, max_examples=12, phases=[Phase.generate])
@given(images())
def test_units_in_strips_need_less_than_every_stream_over_the_same_layers(graph: Graph) -> None:
    lowered = passes.optimize(graph)
    layers = layer_by_layer(lowered, None, Tiling()).layers
    found = units(layers, lowered)
    cut = [u for u in found if u.strips]
    assume(cut)
    whole = [u for u in found if not u.strips and not u.group]
    assert front(found, len(layers))[-1].peak < front(whole, len(layers))[-1].peak
    for unit in cut:
        same = [u for u in whole if (u.begin, u.end) == (unit.begin, unit.end) and u.block is not None]
        assert same and all(unit.peak < u.peak for u in same)


@settings(CHECKED, max_examples=80, phases=[Phase.generate])
@given(images(), st.integers(0, 1 << 20))
def test_the_peak_of_a_unit_is_what_its_buffers_hold_at_once(graph: Graph, seed: int) -> None:
    """But for the rounding of every buffer to words, which the peak counts and the live bytes do not."""
    lowered = passes.optimize(graph)
    layers = layer_by_layer(lowered, None, Tiling()).layers
    lives = lives_of(layers, lowered)
    compared = 0
    for begin in range(len(layers)):
        for end in range(begin + 2, len(layers) + 1):
            members = members_of(layers[begin:end], lowered, needed_whole(layers, begin, end, lowered))
            strips = None if members is None else strips_of(members, 2 + seed % 3)
            if members is None or strips is None:
                continue
            stream = make_stream(members, lowered, strips=strips)
            touched = stream_accesses(stream, members, lowered)
            unit = stream_unit(begin, end, 0, members, stream, touched, lowered, lives)
            segment = stream_segment(members, stream)
            schedule = Schedule(Segment("layers", (*layers[:begin], segment, *layers[end:])))
            found = lifetimes(lowered, schedule)
            held = live_bytes(found.buffers, found.ranges)[begin]
            lower, upper = found.ranges[begin]
            alive = [b for b in found.buffers if b.lower < upper and b.upper > lower]
            assert unit.peak <= held + 3 * len(alive)
            read = all(sum(e - s for s, e, _ in p) == lowered.tensors[n].bytes for n, p in touched.reads.items())
            if read:  # bytes that nobody reads are alive for one tick, which the peak leaves out
                assert held <= unit.peak
            compared += read
    assume(compared)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "peaks"), [("ic_resnet8_int8", (11904, 10208)), ("kws_dscnn_int8", (5050, 4770))])
def test_published_networks_need_less_in_strips_and_compute_the_same(
    shared_data: Path, tmp_path: Path, name: str, peaks: tuple[int, int]
) -> None:
    graph = passes.optimize(load(shared_data / "models" / f"{name}.tflite", None))
    layers = layer_by_layer(graph, None, Tiling()).layers
    found = units(layers, graph)
    whole, best = (front(us, len(layers))[-1] for us in ([u for u in found if not u.strips], found))
    assert (whole.peak, best.peak) == peaks
    schedule = schedule_of(best, layers, graph)
    assert schedule.recomputed == sum(u.recomputed for u in best.units) > 0
    emitted = emit(graph, schedule, plan(graph, schedule), "net", "test", 16, 1024)
    model = host.build(emitted, graph, tmp_path)
    inputs = random_samples(graph, 3, 0)
    found_values = host.run(model, inputs).outputs
    assert_equal(run_reference(graph, inputs), [[out[n] for out in found_values] for n in range(3)], name)
