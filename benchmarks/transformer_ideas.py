"""What each of the three ideas of MCUFormer's schedule is worth: SRAM and cycles with one of them switched off.

    python benchmarks/transformer_ideas.py [--only NETWORK]

- operator integration: layers as streams over blocks of tokens, attention head by head; off: every layer by itself,
  the scores of all heads and tokens at once.
- patch decomposition: the image arrives by rows and is embedded patch row by patch row; off: it is there as a whole.
- token overwriting: results go over what dies (a head's over its queries, the residual sum over its input, tokens over
  tokens that were read); off: every tensor has bytes of its own as long as any of it is alive.

For the largest network of the space "T", factors kept, and for DeiT-tiny, on the stm32f746g-disco, weights outside the
chip where they do not fit, none copied. Of every variant two schedules: the fastest within 5 % of the cycles of its
fastest that takes the least SRAM, and the one with the least SRAM of all. SRAM is the arena as placed; cycles are
estimated: layers as emulated one by one, what their streams add, what weights from flash wait. Writes
benchmarks/results/transformer_ideas.json after every variant.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent))
from mcuc import outside, passes
from mcuc.ir import Graph
from mcuc.latency.emulated import layer_costs
from mcuc.latency.flash import flash_cycles
from mcuc.plan.lifetimes import lifetimes
from mcuc.plan.place import place
from mcuc.schedule import Tiling, tokens, units
from mcuc.schedule.channel_blocks import by_channel_blocks
from mcuc.schedule.explore import Candidate, explore, forms, layers_of
from mcuc.schedule.order import order
from mcuc.schedule.partition import front
from mcuc.schedule.partition import units as all_units
from mcuc.search.spaces.vit_lowrank import parse
from mcuc.search.vit.skeleton import skeleton
from mcuc.targets import Board, load_board
from models import commit

LIFETIMES = import_module("mcuc.plan.lifetimes")
RESULTS = Path(__file__).parent / "results" / "transformer_ideas.json"
BOARD, CLASSES, NEAR = "stm32f746g-disco", 10, 1.05
NETWORKS = {
    "T, largest, factors kept": ("i240-p16-e216-d64-k0.95-token-absolute-" + "-".join(["h4x4"] * 14), True),
    "DeiT-tiny": ("i224-p16-e192-d64-k1-token-absolute-" + "-".join(["h3x4"] * 12), False),
}
IDEAS = ("operator integration", "patch decomposition", "token overwriting")


@contextmanager
def nothing_overwritten() -> Iterator[None]:
    """No output lies over an input, none of which dies before all of it does."""
    with ExitStack() as stack:
        for module in (units, tokens, LIFETIMES):
            stack.enter_context(patch.object(module, "in_place_inputs", lambda layer, graph: ()))
        for module in (units, LIFETIMES):
            stack.enter_context(patch.object(module, "laid_over", lambda *given: {}))
        yield


def layers_alone(graph: Graph, board: Board, pushed: str | None) -> list[Candidate]:
    """Every layer by itself, but for the convolution that takes in the rows of an image."""
    graph = order(forms(graph, "latency")[0].graph).graph
    layers = tuple(by_channel_blocks(layer, board.chip) for layer in layers_of(graph, board.chip, Tiling()))
    found = all_units(layers, graph, pushed, streams=pushed is not None)
    first = min((u.end for u in found if u.begin == 0 and u.block is not None), default=0)
    kept = [u for u in found if u.block is None or (u.begin == 0 and u.end == first)]
    return [Candidate(partition, layers, graph, pushed) for partition in front(kept, len(layers))]


def cycles(candidate: Candidate, board: Board) -> float:
    """Estimated, of an inference."""
    layers = [layer for layer in candidate.layers if layer.calls]
    placed = [layer for layer in candidate.schedule.layers if layer.calls]
    costs = layer_costs([(candidate.graph, layer) for layer in layers], board, "auto", "latency")
    alone = sum(cost.cycles - flash_cycles(layer, board.chip) for cost, layer in zip(costs, layers, strict=True))
    streams = sum(unit.cost for unit in candidate.partition.units)
    return alone + streams + sum(flash_cycles(layer, board.chip) for layer in placed)


def arena(candidate: Candidate, whole: bool) -> int:
    """Bytes, as placed. whole: every buffer from its first write to its last read."""
    buffers = lifetimes(candidate.graph, candidate.schedule).buffers
    return place([replace(b, spans=()) for b in buffers] if whole else buffers).peak


def chosen(candidates: Sequence[Candidate], board: Board, whole: bool) -> dict[str, Any]:
    """The two schedules of a variant; candidates: the cheapest first, each with a lower peak than those before."""
    fastest = cycles(candidates[0], board)
    low, high = 0, len(candidates) - 1  # cycles rise along the front, but for the noise of the estimate
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cycles(candidates[middle], board) <= NEAR * fastest else (low, middle - 1)
    return {
        name: {"arena": arena(one, whole), "cycles": round(cycles(one, board)), "macs_again": one.recomputed}
        for name, one in (("near the fastest", candidates[low]), ("least", candidates[-1]))
    }


def measured(key: str, keep: bool, off: str) -> dict[str, Any]:
    graph = passes.optimize(skeleton(parse(key), CLASSES, 3, keep))
    board = outside.settled(load_board(BOARD), graph, None)
    pushed = None if off == "patch decomposition" else graph.inputs[0]
    with ExitStack() as stack:
        if off == "token overwriting":
            stack.enter_context(nothing_overwritten())
        if off == "operator integration":
            found = layers_alone(graph, board, pushed)
        else:
            found = list(explore(graph, board.chip, "latency", pushed).candidates)
        return chosen(found, board, off == "token overwriting") | {"commit": commit()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS)
    args = parser.parse_args()
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name in [args.only] if args.only else NETWORKS:
        for off in ("", *IDEAS):
            cell = f"without {off}" if off else "all"
            if cell in table.get(name, {}):
                continue
            table.setdefault(name, {})[cell] = found = measured(*NETWORKS[name], off)
            RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            print(name, cell, found, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
