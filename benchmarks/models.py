"""Every zoo model compiled for a board: memory, flash, instructions and agreement, beside other engines' figures.

    python benchmarks/models.py DATA [--boards mps2-an386,mps2-an500] [--models NAME,...] [--samples N] [--emulate N]

DATA is the shared data folder. Writes benchmarks/results/models.json, cell by cell, keeping the cells of other
boards and models, so that a run that is cut off goes on with the next one. Evidence: bytes from the linked ELF and
the plan, instructions emulated, cycles estimated; the other engines' figures are those of baselines.json (emulated).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.ir import Array, Graph
from mcuc.pipeline import Compiled, compile_file
from mcuc.request import Request
from mcuc.verify import oracle
from mcuc.verify.compare import emulated
from mcuc.verify.samples import quantized
from zoo import ZOO, Entry, claim, load_golden, score

RESULTS = Path(__file__).parent / "results" / "models.json"
CORES = {
    "mps2-an386": "m4-O3",
    "mps2-an500": "m7-O3",
    "mps2-an505": "m33-O3",
    "mps2-an385": "m3",
    "nucleo-g0b1re": "m0-O3",
}


def oracle_outputs(data: Path, entry: Entry, x: Array) -> Array:
    """What TFLite Micro computes for x (first output), or the golden reference where it cannot run the model."""
    model = (data / "models" / f"{entry.name}.tflite").read_bytes()
    return np.stack([out[0] for out in oracle.tflite_micro(model, [[sample[None]] for sample in x], seconds=3600)])


def as_output(graph: Graph, name: str, values: Array) -> Array:
    """Golden outputs in the output's integers: float ones (te_*) are exact multiples of the scale."""
    quant = graph.tensors[name].quant
    if values.dtype.kind != "f":
        return values
    assert quant is not None
    return np.rint(values.astype(np.float64) / quant.scale[0]) + quant.zero_point[0]


def host_outputs(graph: Graph, program: host.HostModel, x: Array) -> tuple[Array, ...]:
    """The C on the host over all samples."""
    return host.run(program, [[quantized(graph, graph.inputs[0], sample)] for sample in x], timeout_s=3600).outputs


def measure(data: Path, entry: Entry, board: str, samples: int, emulate: int, out: Path) -> dict[str, Any]:
    """One cell: compile, run, compare. samples: at most so many of the entry's, 0 for its golden ones only."""
    start = time.perf_counter()
    made = compile_file(data / "models" / f"{entry.name}.tflite", Request(board=board), out)
    seconds = time.perf_counter() - start
    report = made.report
    golden = load_golden(data, entry.name)
    program = host.build(made.emitted, made.graph, out / "host")
    cell: dict[str, Any] = {
        "arena": report.sram.arena,
        "work": report.sram.work,
        "stack": report.sram.stack,
        "weights": report.flash.weights,
        "code": report.flash.code,
        "flash": report.flash.total,
        "macs": report.macs,
        "instructions": report.instructions,
        "cycles": report.cycles,
        "cycles_band": report.cycles_band,
        "lower_bound": report.plan.lower_bound,
        "optimal": report.plan.optimal,
        "toolchain": report.toolchain,
        "compile_seconds": round(seconds, 2),
        "self_check": report.verify.bit_exact,
        "audit": report.verify.audit,
    }
    outs = host_outputs(made.graph, program, golden["x"])
    cell["golden"] = {
        "samples": len(golden["x"]),
        "differing": sum(
            int(
                (
                    o.reshape(len(o), -1) != as_output(made.graph, n, golden[f"{entry.oracle}{i}"]).reshape(len(o), -1)
                ).sum()
            )
            for i, (n, o) in enumerate(zip(made.graph.outputs, outs, strict=True))
        ),
    }
    cell["emulated"] = emulated_cell(entry, made, out, golden, board, emulate)
    if entry.source is not None and samples:
        cell["samples"] = real_samples(data, entry, made.graph, program, samples)
        cell["samples"]["published"] = claim(data, entry.name)
    return cell


def emulated_cell(
    entry: Entry, made: Compiled, out: Path, golden: dict[str, Array], board: str, most: int
) -> dict[str, int]:
    """Golden samples on the emulated core against the golden outputs."""
    from mcuc.targets import load_board

    core = CortexM(out / "firmware.elf", load_board(board).chip, made.emitted.symbols)
    differing = 0
    count = min(most, len(golden["x"]))
    for k in range(count):
        sample = [quantized(made.graph, made.graph.inputs[0], golden["x"][k])]
        outs, _ = emulated(core, made.graph, made.plan, sample)
        for i, (name, found) in enumerate(zip(made.graph.outputs, outs, strict=True)):
            wanted = as_output(made.graph, name, golden[f"{entry.oracle}{i}"][k])
            differing += int((found.reshape(-1) != wanted.reshape(-1)).sum())
    return {"samples": count, "differing": differing}


def real_samples(data: Path, entry: Entry, graph: Graph, program: host.HostModel, most: int) -> dict[str, Any]:
    """All samples on the host: agreement with TFLite Micro where it runs the model, and the score."""
    assert entry.source is not None
    found = entry.source(data)
    x = found.x[:most]
    outs = host_outputs(graph, program, x)[0]
    cell: dict[str, Any] = {"count": len(x)}
    if entry.oracle == "t":
        wanted = as_output(graph, graph.outputs[0], oracle_outputs(data, entry, x))
        cell["differing_from_tflite_micro"] = int((outs.reshape(len(x), -1) != wanted.reshape(len(x), -1)).sum())
    if found.y is not None and len(x) == len(found.x):
        kind, value = score(entry, outs, x, found.y)
        cell[kind] = round(value, 4)
    return cell


def commit() -> str:
    """The commit that is measured, "+" behind it where the compiler's files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent.parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    dirty = subprocess.run(
        [*git, "status", "--porcelain", "compiler", "runtime_c", "targets"], capture_output=True, check=False
    )
    return head.strip() + ("+" if dirty.stdout else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--boards", default="mps2-an386,mps2-an500")
    parser.add_argument("--models", default=",".join(e.name for e in ZOO))
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--emulate", type=int, default=20)
    args = parser.parse_args()
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"cells": {}}
    baselines = json.loads((args.data / "baselines.json").read_text(encoding="utf-8"))["runs"]
    wanted = args.models.split(",")
    for board in args.boards.split(","):
        for entry in (e for e in ZOO if e.name in wanted):
            with tempfile.TemporaryDirectory() as folder:
                first = board == args.boards.split(",")[0]
                cell = measure(
                    args.data, entry, board, args.samples if first else 0, args.emulate, Path(folder) / "out"
                )
            rival = next(
                (
                    r
                    for r in baselines
                    if r["model"] == entry.name and r["engine"] == "TFLM+CMSIS-NN" and r["build"] == CORES.get(board)
                ),
                None,
            )
            if rival:
                cell["tflm_cmsis_nn"] = {k: rival[k] for k in ("instructions", "arena_used", "flash", "stack_peak")}
            cell["commit"] = commit()
            table["cells"][f"{entry.name} {board}"] = cell
            table["about"] = (
                "bytes linked and planned, instructions emulated, cycles estimated; tflm_cmsis_nn from baselines.json"
            )
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            show = {k: cell[k] for k in ("arena", "flash", "instructions", "compile_seconds", "golden", "emulated")}
            print(entry.name, board, show, cell.get("samples", {}), cell.get("tflm_cmsis_nn", {}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
