"""What a transformer of the space costs on the board: SRAM by the planner, latency by the layer model, flash from its
tables and code. And, for comparison, the formula of MCUFormer's release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mcuc.latency.emulated import layer_costs
from mcuc.schedule.explore import Candidate
from mcuc.search.cost import STACK_ALLOWANCE
from mcuc.search.pareto import Constraints, Cost, fits
from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, sample
from mcuc.search.vit.pieces import Pieces, Whole, total_of
from mcuc.targets import Board
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
class VitCost:
    """candidate -> Cost on the board, of the schedule that the compiler would choose within the limits. model: planner,
    or paper for the SRAM that MCUFormer's formula says. A candidate that does not fit is not measured: latency 0."""

    pieces: Pieces
    board: Board
    toolchain: str
    optimize: Optimize
    limits: Constraints
    model: str = "planner"

    def __call__(self, candidate: VitCandidate) -> Cost:
        whole, arena = self.chosen(candidate)
        planned = self._planned(candidate, whole, arena)
        sram, tables = planned.sram_bytes, planned.flash_bytes
        if not within(planned, self.limits):
            return planned
        counts = self.pieces.parts(candidate)[1]
        sums = [self._measured(pick) for pick in whole.picks]
        cycles = total_of([s.cycles for s in sums], counts)
        code = total_of([s.calls for s in sums], counts)
        code += sum(dict(kernel for s in sums for kernel in s.kernels.items()).values())
        return Cost(sram, round(tables + code), 1000 * cycles / self.board.chip.clock_hz)

    def chosen(self, candidate: VitCandidate) -> tuple[Whole, int]:
        """The first schedule that the limits have room for, else the one with the lowest peak; its arena in bytes."""
        if self.pieces.goal in ("latency", "flash"):
            fastest = self.pieces.fastest(candidate)
            if fastest.peak <= self._room() and self.pieces.arena(fastest) <= self._room():
                return fastest, self.pieces.arena(fastest)
        found = self.pieces.wholes(candidate)
        for whole in found:
            if whole.peak <= self._room():
                arena = self.pieces.arena(whole)
                if arena <= self._room():
                    return whole, arena
        lowest = min(found, key=lambda w: w.peak)
        return lowest, self.pieces.arena(lowest)

    def planned(self, candidate: VitCandidate) -> Cost:
        """Without what has to be measured: flash of tables alone, latency 0."""
        return self._planned(candidate, *self.chosen(candidate))

    def _planned(self, candidate: VitCandidate, whole: Whole, arena: int) -> Cost:
        counts = self.pieces.parts(candidate)[1]
        tables = total_of([self.pieces.schedule(pick).table_bytes for pick in whole.picks], counts)
        sram = arena + STACK_ALLOWANCE if self.model == "planner" else paper_bytes(candidate)
        return Cost(sram, round(tables), 0.0)

    def warm_up(self, space: VitSpace, seed: int, count: int = WARM_CANDIDATES) -> None:
        """Measures the layers of random candidates in large batches."""
        rng = np.random.default_rng(seed)
        wholes = (self.chosen(sample(space, rng)) for _ in range(count))
        picks = [pick for whole, arena in wholes if arena <= self._room() for pick in whole.picks]
        layers = [(pick.graph, layer) for pick in picks for layer in self.pieces.schedule(pick).layers]
        layer_costs(layers, self.board, self.toolchain, self.optimize)

    def _room(self) -> int:
        limit = self.limits.sram_bytes
        most = self.board.sram_bytes if limit is None else min(limit, self.board.sram_bytes)
        return most - STACK_ALLOWANCE

    def _measured(self, pick: Candidate) -> _Sum:
        found = self.pieces.schedule(pick)
        costs = layer_costs([(pick.graph, la) for la in found.layers], self.board, self.toolchain, self.optimize)
        cycles, instructions = sum(c.cycles for c in costs), sum(c.instructions for c in costs)
        streams = sum(unit.block is not None for unit in pick.partition.units)
        return _Sum(
            cycles + found.stream_cost * cycles / max(1, instructions),
            CALL_CODE * len(costs) + STREAM_CODE * streams,
            dict(kernel for c in costs for kernel in c.kernels),
        )


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
