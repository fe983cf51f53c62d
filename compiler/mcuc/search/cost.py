"""What a candidate costs on the board: SRAM by the planner, latency by the layer model, flash from tables and code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

import mcuc
from mcuc import passes
from mcuc.emit.tables import TablePool
from mcuc.ir import Graph
from mcuc.latency import emulated
from mcuc.latency.emulated import layer_costs, network_cost
from mcuc.plan import plan
from mcuc.schedule import Layer as ScheduledLayer
from mcuc.schedule import Schedule, Tiling
from mcuc.schedule.explore import layer_by_layer
from mcuc.search.layers import Layer
from mcuc.search.pareto import Cost
from mcuc.search.skeleton import skeleton
from mcuc.search.spaces.ds_conv import Space, sample, to_layers
from mcuc.targets import Board
from mcuc.toolchain import Optimize

STACK_ALLOWANCE = 1024  # bytes; the winner's stack is measured
# The packages whose code and templates decide what a candidate costs.
DECIDING = ("emit", "kernels", "passes", "plan", "quantize", "schedule")
WARM_CANDIDATES = 96  # random candidates whose layers are measured together before the search starts


@cache
def rules() -> str:
    """Changes when a kernel, the planner, a pass or how a layer is measured does: what a saved search rests on."""
    root = Path(mcuc.__file__).parent
    files = sorted(f for name in DECIDING for f in (root / name).rglob("*") if f.suffix in (".py", ".j2", ".c"))
    digest = hashlib.sha256(emulated.rules().encode())
    for file in files:
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def planned(layers: Sequence[Layer], board: Board) -> tuple[Graph, Schedule, int]:
    """Graph, schedule and arena bytes (fast placement) of a candidate's layers."""
    graph = passes.optimize(skeleton(layers))
    schedule = layer_by_layer(graph, board.chip, Tiling())
    return graph, schedule, plan(graph, schedule, fast=True).arena


def cost_function(board: Board, toolchain: str, optimize: Optimize) -> Callable[[tuple[Layer, ...]], Cost]:
    """layers -> Cost on the board. A candidate whose arena exceeds the board's SRAM is not measured: latency 0."""

    def cost(layers: tuple[Layer, ...]) -> Cost:
        graph, schedule, arena = planned(layers, board)
        tables = _table_bytes(schedule)
        if arena + STACK_ALLOWANCE > board.sram_bytes:
            return Cost(arena + STACK_ALLOWANCE, tables, 0.0)
        found = network_cost(graph, schedule, board, toolchain, optimize)
        return Cost(arena + STACK_ALLOWANCE, tables + found.code, found.latency_ms)

    return cost


def warm_up(space: Space, board: Board, toolchain: str, optimize: Optimize, seed: int) -> None:
    """Measures the layers of random candidates in large batches, so that the search seldom waits for a compiler."""
    rng = np.random.default_rng(seed)
    by_graph: list[tuple[Graph, list[ScheduledLayer]]] = []
    for _ in range(WARM_CANDIDATES):
        graph, schedule, arena = planned(to_layers(space, sample(space, rng)), board)
        if arena + STACK_ALLOWANCE <= board.sram_bytes:
            by_graph.append((graph, [layer for layer in schedule.layers if layer.calls]))
    layer_costs([(graph, layer) for graph, layers in by_graph for layer in layers], board, toolchain, optimize)


def _table_bytes(schedule: Schedule) -> int:
    pool = TablePool("t")
    for layer in schedule.layers:
        for call, kernel in layer.calls:
            for table in kernel.tables(call):
                pool.symbol(table, "t")
    return pool.bytes
