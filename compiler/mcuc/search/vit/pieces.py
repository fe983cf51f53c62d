"""The planner's front of a whole transformer from those of its parts.

Between two halves of a block (attention with its skip, MLP with its skip) only the tokens are alive, and all of them.
So what is alive while a half runs does not depend on the others, and the front of SRAM and cost of a network follows
from those of its ends (patches, and what is behind the blocks) alone and of each half between these ends: at any peak
the cheapest schedules of all parts add up. Equal halves are explored once, in all candidates. Only streams that would
run across such a border, and other orders of the layers, are left out: the compiler may find a little less than is said
here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mcuc import passes
from mcuc.ir import Graph
from mcuc.plan import Plan, plan
from mcuc.schedule import Layer, Schedule
from mcuc.schedule.explore import (
    ADDING,
    PLAIN,
    REPEATED,
    Candidate,
    Family,
    fastest_alone,
    fronts_as_is,
    in_order,
    merged,
)
from mcuc.schedule.select import wide_for
from mcuc.schedule.staging import staged
from mcuc.search.spaces.vit_lowrank import VitBlock, VitCandidate
from mcuc.search.vit.skeleton import skeleton
from mcuc.targets import Board

FORMS = (ADDING, PLAIN, REPEATED)


@dataclass(frozen=True)
class Part:
    """candidate: one block of which `halves` are there; what they do not depend on is fixed."""

    candidate: VitCandidate
    halves: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Placed:
    """A schedule of a part with its placement. pick: what it was made of; schedule: its own, or that with weights
    staged. layers: those with code; table_bytes: of weights and constants."""

    pick: Candidate
    schedule: Schedule
    plan: Plan

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.schedule.layers if layer.calls)

    @cached_property
    def table_bytes(self) -> int:
        return sum(layer.table_bytes for layer in self.layers)

    @property
    def arena(self) -> int:
        """Bytes."""
        return self.plan.arena

    @property
    def stream_cost(self) -> float:
        """Instructions that its streams take more than their layers alone, estimated."""
        return sum(unit.cost for unit in self.pick.partition.units if unit.block is not None)


@dataclass(frozen=True, eq=False)
class Whole:
    """A schedule of a network. picks: one candidate for each part, that of the ends first. peak, cost: as a
    schedule.explore.Candidate's."""

    peak: int
    cost: float
    picks: tuple[Candidate, ...]


@dataclass(eq=False)
class Pieces:
    """Remembers what it explored, for one board and goal."""

    board: Board
    goal: str
    classes: int
    channels: int
    keep_factors: bool = False
    families: dict[Part, Mapping[str, Family]] = field(default_factory=dict)
    alone: dict[Part, Family] = field(default_factory=dict)
    placed: dict[int, Placed] = field(default_factory=dict)
    stagings: dict[tuple[int, int, int], Placed] = field(default_factory=dict)
    constants: dict[Part, int] = field(default_factory=dict)

    def fresh(self, board: Board | None = None) -> Pieces:
        """The same of the board, None for this one, with nothing explored yet."""
        return Pieces(board or self.board, self.goal, self.classes, self.channels, self.keep_factors)

    def parts(self, candidate: VitCandidate) -> tuple[tuple[Part, ...], tuple[int, ...]]:
        """The ends and the different halves of the candidate's blocks, and how often each of these is there."""
        one = replace(candidate, blocks=(VitBlock(1, 1.0),))
        counts: Counter[Part] = Counter()
        for b in candidate.blocks:
            counts[Part(replace(one, blocks=(replace(b, ratio=1.0),)), ("attention",))] += 1
            counts[Part(replace(one, blocks=(VitBlock(1, b.ratio),)), ("mlp",))] += 1
        return (Part(one, ()), *counts), tuple(counts.values())

    def fastest(self, candidate: VitCandidate) -> Whole:
        """The candidate's fastest schedule, as wholes() has it first for speed, without looking for streams."""
        parts, counts = self.parts(candidate)
        for part in parts:
            if part not in self.alone:
                found = fastest_alone(self._graph(part), self.board.chip, self.goal, wide_for(self.goal))
                self.alone[part] = found
        return merged(_composed([self.alone[part].usual for part in parts], counts))[0]

    def _graph(self, part: Part) -> Graph:
        graph = passes.optimize(
            skeleton(part.candidate, self.classes, self.channels, self.keep_factors, part.halves)
        )
        self.constants[part] = sum(t.bytes for t in graph.tensors.values() if t.data is not None)
        return graph

    def weights(self, candidate: VitCandidate) -> int:
        """Bytes of all constants of the network's graph, by which the compiler decides where they lie."""
        parts, counts = self.parts(candidate)
        for part in parts:
            if part not in self.constants:
                self._graph(part)
        return round(total_of([self.constants[part] for part in parts], counts))

    def of(self, part: Part) -> Mapping[str, Family]:
        """The part's fronts by the name of their form."""
        if part not in self.families:
            found = fronts_as_is(self._graph(part), self.board.chip, self.goal, wide_for(self.goal))
            self.families[part] = {family.name: family for family in found}
        return self.families[part]

    def wholes(self, candidate: VitCandidate) -> tuple[Whole, ...]:
        """The candidate's schedules in the order in which the goal wants them tried."""
        parts, counts = self.parts(candidate)
        families = [self.of(part) for part in parts]
        found: list[Whole] = []
        for name in dict.fromkeys((*(n for n in FORMS if any(n in own for own in families)), *_groupings(families))):
            those = [_family(own, name) for own in families]
            fronts_ = [[f.usual] for f in those], [[f.small, f.usual] for f in those]
            for choice in fronts_ if any(f.small for f in those) else fronts_[:1]:
                found += _composed([next((c for c in cs if c), ()) for cs in choice], counts)
        first = [_family(own, next(n for n in FORMS if any(n in o for o in families))) for own in families]
        instructions = total_of([f.instructions for f in first], counts)
        return in_order(merged(found), self.goal, instructions)

    def schedule(self, pick: Candidate) -> Placed:
        """The pick placed; picks are remembered, so their identities stay."""
        if id(pick) not in self.placed:
            self.placed[id(pick)] = Placed(pick, pick.schedule, plan(pick.graph, pick.schedule, fast=True))
        return self.placed[id(pick)]

    def staged(self, pick: Candidate, arena: int, most: int) -> Placed:
        """The pick with weights copied to the arena while a layer runs, as the compiler does it where they lie outside
        the chip. arena: bytes of the whole network's; most: to which blocks of weights may let it grow."""
        key = id(pick), arena, most
        if key not in self.stagings:
            found, whole = self.schedule(pick), replace(self.schedule(pick).plan, arena=arena)
            schedule, made = staged(
                found.schedule, whole, self.board.chip, lambda s: plan(pick.graph, s, fast=True), most
            )
            self.stagings[key] = found if schedule is found.schedule else Placed(pick, schedule, made)
        return self.stagings[key]

    def arena(self, whole: Whole) -> int:
        """Bytes of the whole network's arena: that of the part that takes the most."""
        return max(self.schedule(pick).arena for pick in whole.picks)


def _groupings(families: Sequence[Mapping[str, Family]]) -> list[str]:
    """Names of the forms by groups of heads."""
    return [name for own in families for name in own if name not in FORMS]


def _family(own: Mapping[str, Family], name: str) -> Family:
    """A part's schedules of a form; of the plain one where it does not have it, of attention with fewer heads than the
    form has groups those by single heads."""
    apart = [n for n in own if n not in FORMS and n.endswith("apart") == name.endswith("apart")]
    near = () if name in FORMS else (*reversed(apart), REPEATED)
    return own[next(n for n in (name, *near, PLAIN) if n in own)]


def total_of(values: Sequence[float], counts: Sequence[int]) -> float:
    """Of a network, from the values of the ends and of each half between the ends."""
    return values[0] + sum(n * (v - values[0]) for v, n in zip(values[1:], counts, strict=True))


def _composed(parts: Sequence[Sequence[Candidate]], counts: Sequence[int]) -> list[Whole]:
    """From the cheapest schedule on: at each peak the cheapest of every part, until one part has none below it."""
    found: list[Whole] = []
    at = [0] * len(parts)
    while all(k < len(part) for k, part in zip(at, parts, strict=True)):
        picks = tuple(part[k] for k, part in zip(at, parts, strict=True))
        peak = max(p.peak for p in picks)
        found.append(Whole(peak, total_of([p.cost for p in picks], counts), picks))
        at = [k + (part[k].peak >= peak) for k, part in zip(at, parts, strict=True)]
    return found
