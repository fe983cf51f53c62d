"""What a call says that it reads is all that its output depends on: lifetimes, streams and the executor believe it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from example import network
from harness import RNG, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machine import column_range, row_numbers
from random_chains import chains
from random_networks import networks

from mcuc import ops, passes
from mcuc.ir import Array, Graph
from mcuc.kernels._base import Call, Kernel
from mcuc.ops._base import overlaid
from mcuc.schedule import Layer, Tiling
from mcuc.schedule.access import streamable
from mcuc.schedule.explore import layers_of
from mcuc.targets import load_board
from mcuc.verify import reference

CHECKED = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def declared(call: Call, graph: Graph, layer: Layer, y: int, x: int) -> dict[str, Array]:
    """Input -> which of its bytes column x of row y may read: of image rows what the columns say, of others all."""
    names = graph.runtime_inputs(layer.node)
    found = {n: np.zeros(graph.tensors[n].bytes, bool) for n in names}
    for rows in call.rows:
        mask = found[names[rows.input]]
        if rows.columns is None:
            by_rows = rows.height * rows.row_bytes == mask.size and rows.offset < rows.row_bytes
            for r in row_numbers(rows, y) if by_rows else ():
                mask[r * rows.row_bytes : (r + 1) * rows.row_bytes] = True
            mask[:] |= not by_rows
            continue
        pixel = rows.columns.pixel_bytes
        first, end = column_range(rows.columns, rows.row_bytes // pixel, x, x + 1)
        for r in row_numbers(rows, y):
            mask[r * rows.row_bytes + first * pixel : r * rows.row_bytes + end * pixel] = True
    return found


def element_wise(call: Call, graph: Graph, layer: Layer, name: str) -> bool:
    """The executor takes it that such a kernel reads of an input the element that it writes."""
    if name not in overlaid(ops.get(layer.node.op), layer.node):
        return False
    size = graph.tensors[layer.node.outputs[0]].bytes
    return call.out_row_bytes * call.height == graph.tensors[name].bytes == size and not call.whole_channels


def run(graph: Graph, layer: Layer, values: dict[str, Array]) -> Array:
    """The layer's output, as bytes."""
    arrays = [None if not n else graph.tensors[n].data if graph.tensors[n].data is not None else values[n]
              for n in layer.node.inputs]
    (out,) = ops.get(layer.node.op).reference(layer.node.attrs, arrays)
    return in_bytes(out)


def in_bytes(array: Array) -> Array:
    """Its bytes, in one dimension."""
    return np.ascontiguousarray(array).reshape(-1).view(np.int8)


def check_call(
    call: Call, kernel: Kernel, graph: Graph, layer: Layer, values: dict[str, Array], rng: np.random.Generator
) -> None:
    """At a random pixel: everything that is not declared, other than it was, changes nothing."""
    y, x = int(rng.integers(call.height)), int(rng.integers(call.width))
    masks = declared(call, graph, layer, y, x)
    start = call.out_offset + y * call.out_row_bytes + x * call.out_stride
    first, last = start, start + call.channels
    if kernel.in_place and ops.get(layer.node.op).in_place and any(element_wise(call, graph, layer, n) for n in masks):
        first = start + int(rng.integers(call.channels))
        last = first + 1
        for name, mask in masks.items():
            if element_wise(call, graph, layer, name):
                mask[:] = False
                mask[first:last] = True
    other = dict(values)
    for name, mask in masks.items():
        noise = rng.integers(-128, 128, mask.size).astype(np.int8)
        mixed = np.where(mask, in_bytes(values[name]), noise).astype(np.int8)
        other[name] = mixed.view(values[name].dtype).reshape(values[name].shape)
    wanted, found = run(graph, layer, values), run(graph, layer, other)
    assert (wanted[first:last] == found[first:last]).all(), f"{layer.node.name}, row {y}, column {x}\n{graph}"


def check_graph(graph: Graph, seed: int) -> None:
    optimized, rng = passes.optimize(graph), RNG(seed)
    (sample,) = samples(optimized, 4, seed)[3:]
    values = dict(reference.run(optimized, dict(zip(optimized.inputs, sample, strict=True))))
    for layer in layers_of(optimized, load_board("mps2-an386").chip if seed % 2 else None, Tiling()):
        cut = streamable(layer, optimized)
        for variant in (layer, *([] if cut is None else [cut])):
            for call, kernel in variant.calls:
                for _ in range(3):
                    check_call(call, kernel, optimized, variant, values, rng)


@settings(CHECKED, max_examples=120)
@given(chains(), st.integers(0, 1 << 16))
def test_chains_depend_on_what_their_calls_declare(graph: Graph, seed: int) -> None:
    check_graph(graph, seed)


@settings(CHECKED, max_examples=120)
@given(networks(), st.integers(0, 1 << 16))
def test_networks_depend_on_what_their_calls_declare(graph: Graph, seed: int) -> None:
    check_graph(graph, seed)


@pytest.mark.parametrize(
    "change", [{"count": 2}, {"pad": 0}, {"stride": 2}, {"columns": {"taps": 2}}, {"columns": {"pad": 0}}], ids=str
)
def test_a_convolution_that_declares_other_reads_than_its_own_is_noticed(change: dict[str, Any]) -> None:
    graph = network()
    (sample,) = samples(graph, 4)[3:]
    values = dict(reference.run(graph, dict(zip(graph.inputs, sample, strict=True))))
    layer = layers_of(graph, None, Tiling())[0]
    ((call, kernel),) = layer.calls
    (rows,) = call.rows
    assert rows.columns is not None
    wrong = replace(rows, **{k: replace(rows.columns, **v) if k == "columns" else v for k, v in change.items()})
    rng = RNG(0)
    with pytest.raises(AssertionError, match="first:CONV_2D"):
        for _ in range(50):
            check_call(replace(call, rows=(wrong,)), kernel, graph, layer, values, rng)
