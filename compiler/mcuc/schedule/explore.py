"""Which schedules to try, cheapest first by the goal. The driver in fit.py plans them until one fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar

from mcuc import ops
from mcuc.emulate.cycles import stream_cycles
from mcuc.errors import McucError
from mcuc.ir import Graph
from mcuc.passes.fuse_add import FUSED, split_add
from mcuc.passes.head_groups import group_heads, most_heads
from mcuc.passes.repeat_norms import repeat_norms, repeated_cost
from mcuc.schedule import Layer, Schedule, Segment, Tiling
from mcuc.schedule.channel_blocks import by_channel_blocks
from mcuc.schedule.lives import Common
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
MUCH = 1 << 20  # bytes, for a rate
PER_MAC = 1.0  # instructions, about, of MACs computed again
PER_ADDED = 6  # instructions of an element of an addition that are saved where a convolution adds it
ADDING, PLAIN, AS_IS, REPEATED = "adding", "plain", "as is", "repeated norms"  # forms, see below
LOOP_BYTES = 800  # of code, about, of an inner loop and of the kernels that differ for its sake


class Point(Protocol):
    """What is chosen from: bytes and instructions."""

    @property
    def peak(self) -> int: ...

    @property
    def cost(self) -> float: ...


C = TypeVar("C", bound=Point)


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
        """MACs that its strips compute again, and those of layers that others compute too."""
        layers = sum(layer.macs for layer in self.layers if layer.again)
        return layers + sum(unit.recomputed for unit in self.partition.units)

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


@dataclass(frozen=True, eq=False)
class Form:
    """A graph that computes the same numbers. name: of this way to write it. cost: instructions beyond the fastest
    form, estimated. least: only the kernels that take the least memory are of interest. as_is: in the order of its
    nodes, which streams want. again: nodes whose MACs other nodes compute too."""

    name: str
    graph: Graph
    cost: float = 0.0
    least: bool = False
    as_is: bool = False
    again: frozenset[str] = frozenset()


def forms(graph: Graph, goal: str) -> tuple[Form, ...]:
    """The forms whose schedules compete, the fastest first: with additions in the convolutions before them; with all
    of them layers of their own, which sometimes takes less memory; attention head by head, with norms computed again
    for each reader too. For little code only the second: inner loops that add as well come on top of those that do
    not."""
    plain = split_add(graph)
    if goal == "flash" or plain is graph:
        found = [Form(PLAIN, plain)]
    else:
        found = [Form(ADDING, graph), Form(PLAIN, plain, _saved(graph), least=True)]
    if goal != "flash" and any(node.op == "batch_matmul" for node in plain.nodes):  # heads: see passes/split_heads.py
        cost, repeated = found[-1].cost, repeat_norms(plain)
        found.append(Form(AS_IS, plain, cost, as_is=True))
        if repeated is not plain:
            found.append(Form(REPEATED, repeated, cost + repeated_cost(plain, repeated), as_is=True))
        found += _by_groups(plain, cost)
    return tuple(found)


def _by_groups(plain: Graph, cost: float) -> Iterator[Form]:
    """Attention whose heads run by groups, from all in one to a head each, and then with the last queries apart."""
    heads = most_heads(plain)
    for passes, apart in [*((p, False) for p in range(1, heads + 1)), (heads, True)]:
        grouped, again = group_heads(plain, passes, apart)
        if grouped is not plain:
            macs = sum(ops.get(n.op).cost(n, grouped).macs for n in grouped.nodes if n.name in again)
            more = PER_MAC * macs + repeated_cost(plain, grouped)
            name = f"{passes} groups" + (", queries apart" if apart else "")
            yield Form(name, grouped, cost + more, as_is=True, again=again)


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
    families, ordered = fronts(graph, chip, goal, pushed, tuned, wide)
    candidates = merged([c for family in families for c in (*family.usual, *family.small)])
    if not candidates:
        assert pushed is not None
        raise _not_by_rows(ordered.graph, families[0].layers, pushed)
    return Explored(in_order(candidates, goal, families[0].instructions), ordered, graph, tuned)


@dataclass(frozen=True, eq=False)
class Family:
    """The schedules of one form, by its name. layers: with the first kernels that apply; usual: their front, () where
    they are of no interest; small: that of the kernels that take the least memory, () where these are the same."""

    name: str
    layers: tuple[Layer, ...]
    usual: tuple[Candidate, ...]
    small: tuple[Candidate, ...]

    @property
    def instructions(self) -> float:
        """Of all products, estimated."""
        return sum(_per_mac(layer) * layer.macs for layer in self.layers)


def fronts(
    graph: Graph,
    chip: Chip | None,
    goal: str,
    pushed: str | None = None,
    tuned: Choice | None = None,
    wide: tuple[str, ...] = (),
) -> tuple[tuple[Family, ...], Ordered]:
    """A family for each form of the graph, the fastest first, and the order of its layers. Arguments as of explore."""
    competing = forms(graph, goal)
    orders = [None if form.as_is else order(form.graph) for form in competing]
    ordered = [o for o in orders if o is not None][-1]  # every addition a layer of its own, every norm once
    return _families(competing, orders, chip, goal, pushed, tuned, wide), ordered


def fronts_as_is(graph: Graph, chip: Chip | None, goal: str, wide: tuple[str, ...] = ()) -> tuple[Family, ...]:
    """The same in the order of the nodes alone: what a part of a network has, whose order the rest decides."""
    competing = forms(graph, goal)
    return _families(competing, [None] * len(competing), chip, goal, None, None, wide)


def fastest_alone(graph: Graph, chip: Chip | None, goal: str, wide: tuple[str, ...] = ()) -> Family:
    """The schedules of the fastest form with the fastest kernels that are made of layers alone, in the order of the
    nodes: where the cheapest of them fits, no other is cheaper."""
    return _of_form(forms(graph, goal)[0], graph, chip, goal, None, None, wide, _common(chip), streams=False)


def _common(chip: Chip | None) -> Common:
    """Of schedules for the chip, on which a byte of flash takes more cycles than one of SRAM."""
    return Common(0.0 if chip is None else stream_cycles(chip, MUCH) / MUCH)


def _families(
    competing: Sequence[Form],
    orders: Sequence[Ordered | None],
    chip: Chip | None,
    goal: str,
    pushed: str | None,
    tuned: Choice | None,
    wide: tuple[str, ...],
) -> tuple[Family, ...]:
    found: list[tuple[Graph, Family]] = []
    common = _common(chip)
    for form, reordered in zip(competing, orders, strict=True):
        own = form.graph if reordered is None else reordered.graph
        if all(own is not other for other, _ in found):
            found.append((own, _of_form(form, own, chip, goal, pushed, tuned, wide, common)))
    return tuple(family for _, family in found)


def in_order(candidates: Sequence[C], goal: str, instructions: float) -> tuple[C, ...]:
    """Candidates from the cheapest to the one with the lowest peak, as the goal wants them tried. instructions: of all
    products in the fastest schedule, estimated."""
    if goal == "sram":
        return tuple(candidates[::-1])
    if goal != "balanced":
        return tuple(candidates)
    allowed = candidates[0].cost + BALANCED_SHARE * instructions
    cheap = sum(c.cost <= allowed for c in candidates)
    return tuple(candidates[max(0, cheap - 1) :])


def _of_form(
    form: Form,
    graph: Graph,
    chip: Chip | None,
    goal: str,
    pushed: str | None,
    tuned: Choice | None,
    wide: tuple[str, ...],
    common: Common,
    streams: bool = True,
) -> Family:
    """The layers of a form's graph in this order, and their fronts. streams: see fastest_alone."""
    alike = goal == "flash" and alike_is_smaller(graph, chip)
    layers = layers_of(graph, chip, Tiling(), alike=alike, wide=wide)
    layers = layers if tuned is None else tuple(map(tuned, layers))
    small = layers_of(graph, chip, Tiling(), small=True, alike=alike, wide=wide)
    if goal != "flash":
        layers, small = (tuple(by_channel_blocks(layer, chip) for layer in them) for them in (layers, small))
    if form.again:
        layers, small = (
            tuple(replace(layer, again=layer.node.name in form.again) for layer in them) for them in (layers, small)
        )
    others = _kernels(small) != _kernels(layers)
    if not streams:
        return Family(form.name, layers, _candidates(layers, graph, pushed, common, False), ())
    skipped = form.least and others
    usual = () if skipped else _dearer(_candidates(layers, graph, pushed, common), form.cost)
    if not others:
        return Family(form.name, layers, usual, ())
    more = sum(_per_mac(b) * b.macs - _per_mac(a) * a.macs for a, b in zip(layers, small, strict=True))
    return Family(form.name, layers, usual, _dearer(_candidates(small, graph, pushed, common), form.cost + more))


def _dearer(candidates: Sequence[Candidate], cost: float) -> tuple[Candidate, ...]:
    return tuple(replace(c, partition=replace(c.partition, cost=c.cost + cost)) for c in candidates)


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


def _candidates(
    layers: tuple[Layer, ...], graph: Graph, pushed: str | None, common: Common, streams: bool = True
) -> tuple[Candidate, ...]:
    """The front."""
    found = front_of_both(layers, without_copies(layers, graph, pushed), graph, pushed, common, streams)
    return tuple(Candidate(partition, chosen, graph, pushed) for partition, chosen in found)


def merged(candidates: Sequence[C]) -> tuple[C, ...]:
    """From the cheapest on, each with a lower peak than all before it."""
    found: list[C] = []
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
