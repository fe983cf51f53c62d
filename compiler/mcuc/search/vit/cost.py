"""What a transformer of the space costs on the board: SRAM by the planner, latency by the layer model, flash from its
tables and code. And, for comparison, the formula of MCUFormer's release.

Weights lie in the chip's own flash, or where that is too small and more is allowed, outside it, as the compiler does it
(mcuc.outside): there the schedule is explored for the slow flash, layers copy their weights to the arena a block of
channels at a time, and the knapsack of mcuc.inside says which tables stay on the chip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mcuc import outside
from mcuc.choice import LINK_ROOM
from mcuc.inside import knapsack
from mcuc.ir import Graph
from mcuc.latency.emulated import layer_costs
from mcuc.latency.flash import flash_cycles, read_cycles, table_reads
from mcuc.schedule import Layer
from mcuc.search.cost import STACK_ALLOWANCE
from mcuc.search.pareto import Constraints, Cost, fits
from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, sample
from mcuc.search.vit.pieces import Pieces, Placed, Whole, total_of
from mcuc.targets import Board, Chip
from mcuc.toolchain import Optimize

MEMORY_MODELS = ("planner", "paper")
CALL_CODE, STREAM_CODE = 60, 1200  # bytes of a layer's function and its call, and of a stream's own loop, about
WARM_CANDIDATES = 6  # random candidates whose layers are measured together before the search starts


@dataclass(frozen=True)
class _Sum:
    """Of a schedule of one part: cycles with what its streams add, bytes of calls, and kernels -> bytes, which layers
    share."""

    cycles: float
    calls: int
    kernels: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Chosen:
    """A candidate's schedule. pieces: those that know where weights lie; arena: bytes, before weights are staged."""

    pieces: Pieces
    whole: Whole
    arena: int


@dataclass(frozen=True, eq=False)
class VitCost:
    """candidate -> Cost on the board, of the schedule that the compiler would choose within the limits. model: planner,
    or paper for the SRAM that MCUFormer's formula says. pieces: with weights on the chip. A candidate that does not fit
    is not measured: latency 0."""

    pieces: Pieces
    board: Board
    toolchain: str
    optimize: Optimize
    limits: Constraints
    model: str = "planner"

    @cached_property
    def far(self) -> Pieces | None:
        """The pieces with weights outside the chip; None where the board has no flash there or the limit keeps out of
        it."""
        board = outside.moved(self.board, self.limits.flash_bytes)
        return None if board is None else self.pieces.fresh(board)

    def __call__(self, candidate: VitCandidate) -> Cost:
        found = self.chosen(candidate)
        cost = self._measured(candidate, found)
        if self.far is not None and found.pieces is not self.far and cost.flash_bytes > self.board.flash_bytes:
            return self._measured(candidate, self._chosen(candidate, self.far))
        return cost

    def afresh(self) -> VitCost:
        """The same with nothing explored yet, for candidates that will hardly be met again."""
        return replace(self, pieces=self.pieces.fresh())

    def chosen(self, candidate: VitCandidate) -> Chosen:
        """The first schedule that the limits have room for, else the one with the lowest peak. Weights lie outside the
        chip where they alone are more than its flash (with their code they may be too: see __call__)."""
        return self._chosen(candidate, self._where(candidate))

    def roomy(self) -> VitCost:
        """The same, exploring the same pieces, with a limit of SRAM alone."""
        return replace(self, limits=Constraints(self.limits.sram_bytes))

    def legal(self, candidate: VitCandidate, planned: bool = False) -> bool:
        """Whether it fits the limits. Without one of latency nothing is measured, and flash is that of the weights
        alone; layers one after the other, which are planned quickly, decide where they fit. planned: the SRAM is known
        to fit, and need not be looked at."""
        flash, latency = self.limits.flash_bytes, self.limits.latency_ms
        if flash is not None and self.pieces.weights(candidate) > flash:
            return False
        if latency is not None:
            return fits(self(candidate), self.limits)
        if self.model == "paper":
            return fits(Cost(paper_bytes(candidate), 0, 0.0), self.limits)
        if planned:
            return True
        pieces = self._where(candidate)
        fastest = pieces.fastest(candidate)
        if fastest.peak <= self._room() and pieces.arena(fastest) <= self._room():
            return True
        return self.chosen(candidate).arena <= self._room()

    def _where(self, candidate: VitCandidate) -> Pieces:
        far = self.far
        return self.pieces if far is None or self.pieces.weights(candidate) <= self.board.flash_bytes else far

    def _chosen(self, candidate: VitCandidate, pieces: Pieces) -> Chosen:
        if pieces.goal in ("latency", "flash"):
            fastest = pieces.fastest(candidate)
            if fastest.peak <= self._room() and pieces.arena(fastest) <= self._room():
                return Chosen(pieces, fastest, pieces.arena(fastest))
        found = pieces.wholes(candidate)
        for whole in found:
            if whole.peak <= self._room():
                arena = pieces.arena(whole)
                if arena <= self._room():
                    return Chosen(pieces, whole, arena)
        lowest = min(found, key=lambda w: w.peak)
        return Chosen(pieces, lowest, pieces.arena(lowest))

    def planned(self, candidate: VitCandidate) -> Cost:
        """Without what has to be measured: flash of tables alone, latency 0."""
        return self._planned(candidate, self.chosen(candidate))

    def _planned(self, candidate: VitCandidate, found: Chosen) -> Cost:
        counts = found.pieces.parts(candidate)[1]
        tables = total_of([found.pieces.schedule(pick).table_bytes for pick in found.whole.picks], counts)
        return Cost(self._sram(candidate, found.arena), round(tables), 0.0)

    def _sram(self, candidate: VitCandidate, arena: int) -> int:
        return arena + STACK_ALLOWANCE if self.model == "planner" else paper_bytes(candidate)

    def warm_up(self, space: VitSpace, seed: int, count: int = WARM_CANDIDATES) -> None:
        """Measures the layers of random candidates in large batches."""
        rng = np.random.default_rng(seed)
        layers: dict[str, tuple[Board, list[tuple[Graph, Layer]]]] = {}
        for found in (self.chosen(sample(space, rng)) for _ in range(count)):
            if found.arena <= self._room():
                board = found.pieces.board
                own = layers.setdefault(board.chip.weights_in, (board, []))[1]
                own += [(one.pick.graph, layer) for one in self._parts(found) for layer in one.layers]
        for board, own in layers.values():
            layer_costs(own, board, self.toolchain, self.optimize)

    @property
    def _limit(self) -> int:
        limit = self.limits.sram_bytes
        return self.board.sram_bytes if limit is None else min(limit, self.board.sram_bytes)

    def _room(self) -> int:
        return self._limit - STACK_ALLOWANCE

    def _parts(self, found: Chosen) -> list[Placed]:
        """The schedules of the network's parts as they are built: with weights staged where they lie outside the chip
        (choice.with_staging; on the chip it gains little, and the search leaves it out)."""
        picks, pieces = found.whole.picks, found.pieces
        if pieces is not self.far or self.optimize == "flash":
            return [pieces.schedule(pick) for pick in picks]
        most = self._limit - LINK_ROOM if self.optimize in ("balanced", "latency") else 0
        return [pieces.staged(pick, found.arena, most) for pick in picks]

    def _measured(self, candidate: VitCandidate, found: Chosen) -> Cost:
        planned = self._planned(candidate, found)
        if not within(planned, self.limits):
            return planned
        counts, chip = found.pieces.parts(candidate)[1], found.pieces.board.chip
        parts = self._parts(found)
        sums = [self._sum(one, found.pieces.board) for one in parts]
        cycles = total_of([s.cycles for s in sums], counts)
        code = total_of([s.calls for s in sums], counts)
        code += sum(dict(kernel for s in sums for kernel in s.kernels.items()).values())
        if found.pieces is self.far:
            cycles -= saved_inside(parts, counts, chip, self.board.flash_bytes - round(code))
        sram = self._sram(candidate, max(found.arena, *(one.arena for one in parts)))
        return Cost(sram, round(planned.flash_bytes + code), 1000 * cycles / chip.clock_hz)

    def _sum(self, found: Placed, board: Board) -> _Sum:
        layers = [(found.pick.graph, layer) for layer in found.layers]
        costs = layer_costs(layers, board, self.toolchain, self.optimize)
        cycles, instructions = sum(c.cycles for c in costs), sum(c.instructions for c in costs)
        streams = sum(unit.block is not None for unit in found.pick.partition.units)
        waits = sum(flash_cycles(la, board.chip) for la in found.layers) if board.chip.weights_in else 0
        return _Sum(
            cycles + found.stream_cost * (cycles - waits) / max(1, instructions),
            CALL_CODE * len(costs) + STREAM_CODE * streams,
            dict(kernel for c in costs for kernel in c.kernels),
        )


def saved_inside(parts: list[Placed], counts: tuple[int, ...], chip: Chip, room: int) -> int:
    """Cycles that an inference takes less with the best tables in so many bytes of the chip's own flash. chip: with
    weights outside; parts, counts: the ends and the halves of a network, as for total_of. Blocks that are alike have
    the same tables here and not once they are trained, so each counts for itself."""
    tables = [Counter(_tables(one, chip)) for one in parts]
    found = tables[0]
    for own, n in zip(tables[1:], counts, strict=True):
        found = found + Counter({table: n * more for table, more in (own - tables[0]).items()})
    things = list(found.elements())
    chosen = knapsack([size for size, _ in things], [saved for _, saved in things], room)
    return sum(things[i][1] for i in chosen)


def _tables(found: Placed, chip: Chip) -> list[tuple[int, int]]:
    """Of each table that the part's layers read: its bytes, and the cycles that are saved with it on the chip."""
    return [
        (read.table.bytes, round(read_cycles(read, chip) - read_cycles(read, chip, inside=True)))
        for layer in found.layers
        for read in table_reads(layer, chip)
    ]


def within(cost: Cost, limits: Constraints) -> bool:
    """Whether bytes are within the limits, whatever the latency is."""
    return fits(cost, replace(limits, latency_ms=None))


def paper_bytes(candidate: VitCandidate) -> int:
    """The peak that MCUFormer's release computes (supernet_engine.py, sample_legel_ratio), legal up to 320 * 1024: int8
    tokens in and out of the MLP's first product, and one factor of its weights. Not in it: scores of attention,
    queries, keys and values, the skip's copy, the input image, biases, stack; its number of patches is no whole number.
    """
    c = candidate
    ratio = max(b.ratio for b in c.blocks)
    tokens = (c.image / c.patch) ** 2 + 1
    return round(c.embed * (tokens * (1 + ratio) + c.embed * ratio * c.rank))
