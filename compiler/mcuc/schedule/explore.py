"""Which schedules to try, cheapest first by the goal. The driver in fit.py plans them until one fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mcuc import ops
from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.passes.fuse_add import FUSED, split_add
from mcuc.schedule import Layer, Schedule, Segment, Tiling
from mcuc.schedule.order import Ordered, order
from mcuc.schedule.partition import Partition, schedule_of
from mcuc.schedule.select import select
from mcuc.schedule.variants import front_of_both
from mcuc.schedule.views import without_copies
from mcuc.targets import Chip

Choice = Callable[[Layer], Layer]
# What `balanced` may cost in instructions against the fastest schedule, estimated so that the true share stays below
# 5 % (benchmarks/memory.py compares).
BALANCED_SHARE = 0.04
PER_ADDED = 6  # instructions of an element of an addition that are saved where a convolution adds it
LOOP_BYTES = 800  # of code, about, of an inner loop and of the kernels that differ for its sake


@dataclass(frozen=True, eq=False)
class Candidate:
    """A schedule to try. peak: bytes of its placement, estimated (it may come out a little lower); cost: instructions
    beyond the fastest schedule, estimated."""

    partition: Partition
    layers: tuple[Layer, ...]
    graph: Graph
    pushed: str | None

    @property
    def peak(self) -> int:
        return self.partition.peak

    @property
    def cost(self) -> float:
        return self.partition.cost

    @property
    def recomputed(self) -> int:
        """MACs that its strips compute again."""
        return sum(unit.recomputed for unit in self.partition.units)

    @cached_property
    def schedule(self) -> Schedule:
        """The tree of segments, with every stream worked out."""
        return schedule_of(self.partition, self.layers, self.graph, self.pushed)


@dataclass(frozen=True, eq=False)
class Explored:
    """candidates: in the order in which to try them; ordered: the layers' order, every addition a layer of its own,
    with what is proven of it; graph, tuned: as explore was given them."""

    candidates: tuple[Candidate, ...]
    ordered: Ordered
    graph: Graph
    tuned: Choice | None = None


def forms(graph: Graph, goal: str) -> tuple[Graph, ...]:
    """The graphs whose schedules compete, the fastest first: with additions in the convolutions before them, and with
    all of them layers of their own, which sometimes takes less memory. For little code only the latter: inner loops
    that add as well come on top of those that do not."""
    plain = split_add(graph)
    return (plain,) if plain is graph or goal == "flash" else (graph, plain)


def explore(
    graph: Graph,
    chip: Chip | None,
    goal: str,
    pushed: str | None = None,
    tuned: Choice | None = None,
    wide: tuple[str, ...] = (),
) -> Explored:
    """Schedules of the graph on the front of SRAM and cost, in the order in which the goal wants them tried.

    latency, flash: the cheapest first (layer by layer has the least code), smaller arenas after it. balanced: the
    smallest arena that costs next to nothing, then smaller ones. sram: the smallest arena first. pushed: an input that
    arrives row by row and is never held whole. tuned: another choice of kernels than the first that apply. wide: as for
    select.
    Raises McucError("rows-in") when the layers that read it cannot run row by row.
    """
    competing = [order(form) for form in forms(graph, goal)]
    found = [_of_form(form.graph, chip, goal, pushed, tuned, k > 0, wide) for k, form in enumerate(competing)]
    layers, candidates = found[0]
    if len(found) > 1:
        apart = [_dearer(c, _saved(competing[0].graph)) for c in found[1][1]]
        candidates = _falling([*candidates, *apart])
    ordered = competing[-1]
    if not candidates:
        assert pushed is not None
        raise _not_by_rows(ordered.graph, found[-1][0], pushed)
    if goal == "sram":
        candidates = candidates[::-1]
    elif goal == "balanced":
        base = sum(_per_mac(layer) * layer.macs for layer in layers)
        allowed = candidates[0].cost + BALANCED_SHARE * base
        cheap = sum(c.cost <= allowed for c in candidates)
        candidates = candidates[max(0, cheap - 1) :]
    return Explored(candidates, ordered, graph, tuned)


def _of_form(
    graph: Graph,
    chip: Chip | None,
    goal: str,
    pushed: str | None,
    tuned: Choice | None,
    least: bool,
    wide: tuple[str, ...],
) -> tuple[tuple[Layer, ...], tuple[Candidate, ...]]:
    """The layers of a graph in this order, and their front. least: only with the kernels that take the least memory."""
    alike = goal == "flash" and alike_is_smaller(graph, chip)
    layers = layers_of(graph, chip, Tiling(), alike=alike, wide=wide)
    layers = layers if tuned is None else tuple(map(tuned, layers))
    small = layers_of(graph, chip, Tiling(), small=True, alike=alike, wide=wide)
    others = _kernels(small) != _kernels(layers)
    candidates = () if least and others else _candidates(layers, graph, pushed)
    if others:
        more = sum(_per_mac(b) * b.macs - _per_mac(a) * a.macs for a, b in zip(layers, small, strict=True))
        candidates = _falling([*candidates, *(_dearer(c, more) for c in _candidates(small, graph, pushed))])
    return layers, candidates


def _dearer(candidate: Candidate, cost: float) -> Candidate:
    return replace(candidate, partition=replace(candidate.partition, cost=candidate.cost + cost))


def _saved(graph: Graph) -> float:
    """Instructions that its convolutions with additions save."""
    return sum(PER_ADDED * graph.tensors[n.outputs[0]].elements for n in graph.nodes if n.op == FUSED)


def alike_is_smaller(graph: Graph, chip: Chip | None) -> bool:
    """Whether inner loops that all layers share make up for the larger tables that they read."""
    sizes = []
    for alike in (True, False):
        layers = layers_of(graph, chip, Tiling(), alike=alike)
        calls = [pair for layer in layers for pair in layer.calls]
        loops = {
            (template, *sorted(values.items()))
            for call, kernel in calls
            for template, values in kernel.helpers(call).values()
        }
        sizes.append(sum(layer.table_bytes for layer in layers) + LOOP_BYTES * len(loops))
    return sizes[0] <= 1.01 * sizes[1]


def _candidates(layers: tuple[Layer, ...], graph: Graph, pushed: str | None) -> tuple[Candidate, ...]:
    found = front_of_both(layers, without_copies(layers, graph, pushed), graph, pushed)
    return tuple(Candidate(partition, chosen, graph, pushed) for partition, chosen in found)


def _falling(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """From the cheapest on, each with a lower peak than all before it."""
    found: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.cost, c.peak)):
        if not found or candidate.peak < found[-1].peak:
            found.append(candidate)
    return tuple(found)


def _kernels(layers: Sequence[Layer]) -> list[list[str]]:
    return [[kernel.id for _, kernel in layer.calls] for layer in layers]


def _per_mac(layer: Layer) -> float:
    return layer.calls[0][1].per_mac if layer.calls else 0.0


def layer_by_layer(graph: Graph, chip: Chip | None, tiling: Tiling) -> Schedule:
    """Every layer whole, in the graph's order."""
    return Schedule(Segment("layers", layers_of(graph, chip, tiling)))


def layers_of(
    graph: Graph,
    chip: Chip | None,
    tiling: Tiling,
    small: bool = False,
    alike: bool = False,
    wide: tuple[str, ...] = (),
) -> tuple[Layer, ...]:
    """The layers of the graph's nodes, in its order, with their kernels chosen. small, alike, wide: see select."""
    copies = _copied_aliases(graph)
    return tuple(select(node, graph, chip, tiling, node.name in copies, small, alike, wide) for node in graph.nodes)


def _not_by_rows(graph: Graph, layers: Sequence[Layer], pushed: str) -> McucError:
    readers = [layer.node.name for layer in layers if pushed in graph.runtime_inputs(layer.node)]
    shape = graph.tensors[pushed].shape
    return McucError(
        "rows-in",
        f"input {pushed!r} of shape {shape} cannot arrive row by row: the layers up to its last reader "
        f"({', '.join(readers[:3])}) do not all run on rows of an image",
        where=pushed,
        try_this="compile without --rows-in; inputs of shape [1, rows, columns, channels] that go into convolutions, "
        "pools and element-wise layers can arrive by rows",
    )


def _copied_aliases(graph: Graph) -> set[str]:
    """Aliasing nodes whose bytes must move: from the model's input, or from one output, to another output."""
    outputs = set(graph.kept)
    group: dict[str, str] = {}  # tensor -> first tensor of its bytes
    held: dict[str, int] = {}  # first tensor -> model inputs and outputs among the bytes so far
    copied = set()
    for name in graph.given:
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
