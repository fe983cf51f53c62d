"""SRAM of the zoo's image and keyword models from the fastest schedule to the smallest, with the price of each.

    python benchmarks/memory.py DATA [--board mps2-an386] [--models NAME,...] [--modes latency,...]

DATA is the shared data folder. For every model and mode: --optimize latency, the default (balanced), the smallest
(--budget min), and the smallest with the input arriving by rows (--budget min --rows-in). "fastest" in a cell is the
schedule with the fewest instructions under the same compiler flags: extra instructions are counted from there.
Writes benchmarks/results/memory.json cell by cell; a run that is cut off goes on with the cells that are missing or
of another commit. Evidence: bytes planned, stack emulated and bounded, instructions emulated; all golden samples on
the host, one on the emulated core.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from mcuc import passes
from mcuc.emulate import host
from mcuc.importers import load
from mcuc.pipeline import compile_file
from mcuc.request import Request
from mcuc.schedule.explore import explore
from mcuc.targets import load_board
from mcuc.tradeoff import build_point
from models import as_output, commit, emulated_cell, host_outputs
from zoo import ZOO, Entry, load_golden

RESULTS = Path(__file__).parent / "results" / "memory.json"
MODES = {
    "latency": {"optimize": "latency"},
    "balanced": {},
    "min": {"least": True},
    "min rows in": {"least": True, "rows_in": True},
}
MODELS = (
    "ic_resnet8_int8",
    "kws_dscnn_int8",
    "vww96_int8",
    "te_vww80",
    "te_persondet",
    "mbv1_025_128_u8",
    "mbv2_100_224_u8",
)
# KB of 1024 bytes, the smallest SRAM that another engine is known to take for the model; published elsewhere.
BEST_OTHER = {
    "ic_resnet8_int8": (40.0, "Plumerai, MLPerf Tiny v1.1, one arena for four models (upper bound)"),
    "kws_dscnn_int8": (16.8, "Plumerai, MLPerf Tiny v0.7"),
    "vww96_int8": (40.0, "Plumerai, MLPerf Tiny v1.1, one arena for four models (upper bound)"),
    "te_vww80": (91.8, "TinyEngine, counted on the same emulator"),
    "te_persondet": (251.4, "TinyEngine, counted on the same emulator"),
    "mbv2_100_224_u8": (172.0, "MCUNetV2 with patches, the image apart"),
}


def measure(data: Path, entry: Entry, board: str, mode: str, out: Path) -> dict[str, Any]:
    """One cell: compiled, compared with the golden outputs on the host and, one sample, on the emulated core."""
    start = time.perf_counter()
    request = Request(board=board, **MODES[mode])  # type: ignore[arg-type]
    made = compile_file(data / "models" / f"{entry.name}.tflite", request, out)
    seconds = time.perf_counter() - start
    report = made.report
    fastest = fastest_schedule(data / "models" / f"{entry.name}.tflite", request, out / "fastest")
    golden = load_golden(data, entry.name)
    outs = host_outputs(made.graph, host.build(made.emitted, made.graph, out / "host"), golden["x"])
    differing = 0
    for i, (name, found) in enumerate(zip(made.graph.outputs, outs, strict=True)):
        wanted = as_output(made.graph, name, golden[f"{entry.oracle}{i}"])
        differing += int((found.reshape(len(found), -1) != wanted.reshape(len(found), -1)).sum())
    return {
        "arena": report.sram.arena,
        "work": report.sram.work,
        "stack": report.sram.stack,
        "static": report.sram.static,
        "total": report.sram.total,
        "lower_bound": report.plan.lower_bound,
        "flash": report.flash.total,
        "macs": report.macs,
        "extra_macs": round(made.schedule.recomputed / max(1, report.macs), 4),
        "instructions": report.instructions,
        "fastest": fastest,
        "extra_instructions": round(report.instructions / fastest["instructions"] - 1, 4),
        "cycles": report.cycles,
        "cycles_band": report.cycles_band,
        "streams": [segment_words(s) for s in made.schedule.segments if hasattr(s, "stream")],
        "toolchain": report.toolchain,
        "compile_seconds": round(seconds, 2),
        "self_check": report.verify.bit_exact,
        "audit": report.verify.audit,
        "golden": {"samples": len(golden["x"]), "differing": differing},
        "emulated": emulated_cell(entry, made, out, golden, board, 1),
        "commit": commit(),
    }


def fastest_schedule(model: Path, request: Request, folder: Path) -> dict[str, int]:
    """Arena bytes and emulated instructions of the schedule that costs least, with the input held whole."""
    board = load_board(request.board)
    graph = passes.optimize(load(model, None))
    found = build_point(explore(graph, board.chip, "latency").candidates[0], board, request, model.name, folder)
    assert found is not None
    return {"arena": found[0].arena, "instructions": found[0].instructions}


def segment_words(segment: Any) -> str:
    """A stream as first layer, last layer and columns at a time."""
    names = [layer.node.name for layer in segment.members]
    columns = max(segment.stream.steps, default=0)
    return f"{names[0]} to {names[-1]}, " + (f"{columns} columns at a time" if columns else "whole rows")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--board", default="mps2-an386")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--modes", default=",".join(MODES))
    args = parser.parse_args()
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"cells": {}}
    table["about"] = "bytes planned, stack emulated and bounded statically, instructions emulated, cycles estimated"
    table["best_other_kb"] = {name: {"kb": kb, "source": source} for name, (kb, source) in BEST_OTHER.items()}
    now = commit()
    runs = json.loads((args.data / "baselines.json").read_text(encoding="utf-8"))["runs"]
    for entry in (e for e in ZOO if e.name in args.models.split(",")):
        wanted = (entry.name, "TFLM+CMSIS-NN", "m4-O3")
        rival = next((r for r in runs if (r["model"], r["engine"], r["build"]) == wanted), {})
        for mode in args.modes.split(","):
            key = f"{entry.name} {args.board} {mode}"
            if table["cells"].get(key, {}).get("commit") == now and not now.endswith("+"):
                continue
            with tempfile.TemporaryDirectory() as folder:
                cell = measure(args.data, entry, args.board, mode, Path(folder) / "out")
            table["cells"][key] = cell | {"tflm_arena": rival.get("arena_used")}
            RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            keys = ("arena", "work", "total", "instructions", "extra_instructions", "compile_seconds", "golden")
            print(key, {k: cell[k] for k in keys}, cell["emulated"], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
