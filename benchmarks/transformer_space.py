"""Networks drawn from MCUFormer's space "T": each planned within 148 KB, built and compared.

    python benchmarks/transformer_space.py [--networks 40] [--whole 5]

Every network (240 x 240 x 3 pixels, 12 to 14 blocks, made-up int8 weights) is planned as a whole for the
stm32f746g-disco, image by rows. The first `--whole` are built and run as they are; of each other the network of its
different blocks, once each in their order, with patches and head, which has every layer of a shape that the whole has.
What is built must equal the reference byte for byte on the host and on the emulated core, and the reference is compared
with ONNX Runtime's answers to the same file (where its dot products do not saturate: tests/importers/onnx_models.py).

Writes benchmarks/results/transformer_space.json after every network; one that is there is not run again. SRAM is
planned, its stack emulated; cycles are estimated.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "importers"))
sys.path.insert(0, str(Path(__file__).parent))
import onnx_models

from mcuc import outside, passes, ram
from mcuc.choice import Limits, fit_or_refuse, pushed_input
from mcuc.importers.onnx import parse_with_interface
from mcuc.ir import Graph
from mcuc.pipeline import compile_graph
from mcuc.report.types import Report
from mcuc.request import Request
from mcuc.schedule.explore import explore
from mcuc.schedule.select import wide_for
from mcuc.search.spaces.vit_lowrank import VitCandidate, sample, tiny_space
from mcuc.search.vit.skeleton import int8_file
from mcuc.targets import load_board
from models import commit

RESULTS = Path(__file__).parent / "results" / "transformer_space.json"
BOARD, BUDGET, CLASSES = "stm32f746g-disco", 148 << 10, 10
STACK = 1024  # bytes, more than any of these takes; what is built says how many
IMAGES = 3


def drawn(count: int) -> list[VitCandidate]:
    """Different networks of the space, uniformly."""
    rng, space = np.random.default_rng(2023), tiny_space(3, CLASSES)
    found: dict[str, VitCandidate] = {}
    while len(found) < count:
        one = sample(space, rng)
        found[one.key] = one
    return list(found.values())


def planned(graph: Graph) -> dict[str, Any]:
    """The schedule that the compiler takes within BUDGET, and its arena."""
    request = Request(board=BOARD, budget=BUDGET - STACK, rows_in=True)
    graph = passes.check_supported(passes.optimize(graph))
    board = outside.settled(load_board(BOARD), graph, None)
    found = explore(graph, board.chip, "latency", pushed_input(graph, request), None, wide_for(request.optimize))
    fitted = fit_or_refuse(found, Limits(board, ram.chosen(board, request.regions), request), {})
    return {"arena": fitted.plan.arena, "macs": sum(layer.macs for layer in fitted.schedule.layers),
            "macs_again": fitted.schedule.recomputed}  # fmt: skip


def built(blob: bytes) -> dict[str, Any]:
    """The file compiled and run, and how many of the answers differ from ONNX Runtime's, by how much at most."""
    graph = parse_with_interface(blob, "a network of the space", "network")[0]
    with tempfile.TemporaryDirectory() as folder:
        request = Request(board=BOARD, budget=BUDGET, rows_in=True)
        report: Report = compile_graph(graph, request, "network", Path(folder) / "out").report
    assert report.verify.bit_exact and report.verify.audit == 0
    _, wanted, found = onnx_models.both(blob, IMAGES)
    away = np.abs(np.stack(wanted).astype(int) - np.stack(found).astype(int))
    return {
        "sram_total": report.sram.total,
        "stack": report.sram.stack,
        "bit_exact": report.verify.bit_exact,
        "instructions": report.instructions,
        "cycles": report.cycles,
        "macs": report.macs,
        "onnxruntime": {"answers": away.size, "differ": int((away > 0).sum()), "steps": int(away.max())},
    }


def measured(candidate: VitCandidate, whole: bool) -> dict[str, Any]:
    start = time.perf_counter()
    blob = int8_file(candidate, CLASSES, 3)
    graph = parse_with_interface(blob, "a network of the space", "network")[0]
    part = candidate if whole else replace(candidate, blocks=tuple(dict.fromkeys(candidate.blocks)))
    return {
        "planned": planned(graph),
        "whole": whole,
        "built": {"blocks": len(part.blocks), **built(blob if whole else int8_file(part, CLASSES, 3))},
        "seconds": round(time.perf_counter() - start),
        "commit": commit(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--whole", type=int, default=5)
    args = parser.parse_args()
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    every = list(enumerate(drawn(args.networks)))
    for i, candidate in [*every[args.whole :], *every[: args.whole]]:  # the long ones last
        if candidate.key in table:
            continue
        table[candidate.key] = found = measured(candidate, i < args.whole)
        RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{candidate.key}: {found['planned']['arena']:,} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
