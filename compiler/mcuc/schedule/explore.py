"""Which schedules to try, cheapest first by the goal. The driver in fit.py plans them until one fits."""

from __future__ import annotations

from collections.abc import Iterator

from mcuc import ops
from mcuc.ir import Graph
from mcuc.schedule import Schedule, Segment, Tiling
from mcuc.schedule.select import select
from mcuc.targets import Chip


def explore(graph: Graph, chip: Chip | None, goal: str, tiling: Tiling | None = None) -> Iterator[Schedule]:
    """Schedules of the graph for the goal (latency, balanced, sram, flash), cheapest first.

    Layer by layer is the only class of schedules so far; every goal begins with it.
    """
    yield layer_by_layer(graph, chip, tiling or Tiling())


def layer_by_layer(graph: Graph, chip: Chip | None, tiling: Tiling) -> Schedule:
    """Every layer whole, in the graph's order."""
    copies = _copied_aliases(graph)
    layers = tuple(select(node, graph, chip, tiling, copy=node.name in copies) for node in graph.nodes)
    return Schedule(Segment("layers", layers))


def _copied_aliases(graph: Graph) -> set[str]:
    """Aliasing nodes whose bytes must move: from the model's input, or from one output, to another output."""
    outputs = set(graph.outputs)
    group: dict[str, str] = {}  # tensor -> first tensor of its bytes
    held: dict[str, int] = {}  # first tensor -> model inputs and outputs among the bytes so far
    copied = set()
    for name in graph.inputs:
        held[name] = 1
    for node in graph.nodes:
        out = node.outputs[0]
        if not ops.get(node.op).alias:
            held[out] = 1 if out in outputs else 0
            continue
        root = group.get(node.inputs[0], node.inputs[0])
        ends = held.get(root, 0) + (1 if out in outputs else 0)
        if ends > 1 or (out in outputs and graph.tensors[root].data is not None):
            copied.add(node.name)
            held[out] = 1
            continue
        group[out] = root
        held[root] = ends
    return copied
