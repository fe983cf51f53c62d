"""SRAM of vision transformers with low-rank layers: the planner's beside that of MCUFormer's formula, in its own space.

    python benchmarks/vit_memory.py [--random N]

Writes benchmarks/results/vit_memory.json: `named`, networks whose value of the formula is known; `random`, draws from
the space "T" at 240 pixels, and how often formula and planner agree about 320 KB; `seconds`, what each took to plan.
All figures are planned: arenas of int8 networks with made-up weights, input included, stack not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.search.pareto import Constraints
from mcuc.search.spaces.vit_lowrank import VitBlock, VitCandidate, sample, tiny_space
from mcuc.search.vit.cost import STACK_ALLOWANCE, VitCost, paper_bytes
from mcuc.search.vit.pieces import Pieces
from mcuc.targets import load_board
from models import commit

RESULTS = Path(__file__).parent / "results" / "vit_memory.json"
BOARD = "stm32f746g-disco"
BUDGET = 320 * 1024
NAMED = [(16, 168, 4.0, 0.9), (16, 192, 4.0, 0.9), (16, 192, 3.5, 0.9), (16, 216, 4.0, 0.4), (20, 216, 4.0, 0.9),
         (20, 216, 4.0, 0.95), (20, 192, 4.0, 0.95), (24, 216, 4.0, 0.95), (32, 216, 4.0, 0.95)]  # fmt: skip


def figures(candidate: VitCandidate, cost: VitCost) -> dict[str, Any]:
    started = time.perf_counter()
    chosen = cost.chosen(candidate)
    pieces = chosen.pieces
    wholes = pieces.wholes(candidate)
    arenas = [pieces.arena(w) for w in (min(wholes, key=lambda w: w.cost), min(wholes, key=lambda w: w.peak))]
    fits = chosen.arena + STACK_ALLOWANCE <= BUDGET
    return {
        "candidate": candidate.key,
        "formula": paper_bytes(candidate),
        "arena_fastest": arenas[0],
        "arena_least": arenas[1],
        "formula_fits": paper_bytes(candidate) <= BUDGET,
        "planner_fits": fits,
        "tables": cost.planned(candidate).flash_bytes,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=24)
    count = parser.parse_args().random
    board, space = load_board(BOARD), tiny_space(3, 1000)
    pieces = Pieces(board, "latency", space.classes, space.channels)
    cost = VitCost(pieces, board, "auto", "balanced", Constraints(BUDGET))
    rng = np.random.default_rng(0)
    table: dict[str, Any] = {"commit": commit(), "board": BOARD, "budget": BUDGET, "evidence": "planned"}

    def write(kind: str, candidate: VitCandidate) -> None:
        table.setdefault(kind, []).append(found := figures(candidate, cost))
        RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{found['candidate'][:40]}: {found['formula']:,} by the formula, {found['arena_fastest']:,} to "
              f"{found['arena_least']:,} planned, {found['seconds']} s", flush=True)  # fmt: skip

    for patch, embed, ratio, rank in NAMED:
        blocks = (VitBlock(4, ratio),) * 12
        write("named", VitCandidate(240, patch, embed, 64, rank, "token", "absolute", blocks))
    for _ in range(count):
        write("random", sample(space, rng))
    pairs = [(r["formula_fits"], r["planner_fits"]) for r in table.get("random", [])]
    table["verdicts"] = {
        f"formula {'fits' if f else 'does not'}, planner {'fits' if p else 'does not'}": pairs.count((f, p))
        for f in (True, False)
        for p in (True, False)
    }
    RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
