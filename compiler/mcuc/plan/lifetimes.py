"""Which bytes are alive when: storages (tensors that share bytes) and their lifetimes over a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcuc.ir import Graph
from mcuc.plan.place import Buffer
from mcuc.schedule import Layer, Schedule
from mcuc.schedule.select import in_place_inputs

ALIGN = 4  # whole words, so that copies and DSP loads start aligned


@dataclass(frozen=True)
class Lifetimes:
    """buffers: what to place; storage: run-time tensor -> buffer id; io: ids of the model's inputs and outputs."""

    buffers: tuple[Buffer, ...]
    storage: Mapping[str, str]
    scratch: Mapping[str, str]
    io: frozenset[str]


def lifetimes(graph: Graph, schedule: Schedule) -> Lifetimes:
    """Buffers of the schedule; step t is the t-th layer, a buffer is live over [first writer, last reader + 1).

    The model's inputs are live from step 0, its outputs until the end. An in-place layer's output joins its dying
    input's storage, unless one of them is the caller's (a model input is kept, an output may lie elsewhere).
    """
    layers = schedule.layers
    last = _last_use(graph, layers)
    storage: dict[str, str] = {n: n for n in graph.inputs}
    ends: dict[str, int] = {n: last.get(n, 0) for n in graph.inputs}
    caller = set(graph.inputs) | _output_roots(graph, layers)
    for step, layer in enumerate(layers):
        out = layer.node.outputs[0]
        root = out
        if not layer.calls:
            root = storage[layer.node.inputs[0]]
        elif out not in caller:
            root = next(
                (
                    storage[n]
                    for n in in_place_inputs(layer, graph)
                    if storage[n] not in caller and ends[storage[n]] == step
                ),
                out,
            )
        storage[out] = root
        ends[root] = max(ends.get(root, step), last.get(out, step))
    starts = {root: _first_write(root, graph, layers) for root in ends}
    size = {root: max(graph.tensors[n].bytes for n, r in storage.items() if r == root) for root in ends}
    buffers = [Buffer(root, starts[root], ends[root] + 1, max(1, size[root]), ALIGN) for root in ends]
    scratch = {}
    for step, layer in enumerate(layers):
        if layer.scratch:
            scratch[layer.node.name] = f"{layer.node.name}/scratch"
            buffers.append(Buffer(scratch[layer.node.name], step, step + 1, layer.scratch, ALIGN))
    io = frozenset(storage[n] for n in (*graph.inputs, *graph.outputs))
    return Lifetimes(tuple(buffers), storage, scratch, io)


def _last_use(graph: Graph, layers: tuple[Layer, ...]) -> dict[str, int]:
    last: dict[str, int] = {}
    for step, layer in enumerate(layers):
        for name in graph.runtime_inputs(layer.node):
            last[name] = step
    for name in graph.outputs:
        last[name] = len(layers) - 1
    return last


def _output_roots(graph: Graph, layers: tuple[Layer, ...]) -> set[str]:
    """The outputs and, behind aliasing layers, the tensors whose bytes they are."""
    found = set(graph.outputs)
    for layer in reversed(layers):
        if not layer.calls and layer.node.outputs[0] in found:
            found.add(layer.node.inputs[0])
    return found


def _first_write(root: str, graph: Graph, layers: tuple[Layer, ...]) -> int:
    if root in graph.inputs:
        return 0
    return next(step for step, layer in enumerate(layers) if root in layer.node.outputs)
