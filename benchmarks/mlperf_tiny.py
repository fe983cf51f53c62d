"""The four MLPerf Tiny models on a Cortex-M4, M7, M33 and M0+, beside what other engines published on the same boards.

    python benchmarks/mlperf_tiny.py DATA [--boards NAME,...] [--toolchains zig,gcc] [--goals latency,balanced,flash]

DATA is the shared data folder. Every cell is compiled, compared on the host with all golden samples and on the
emulated core, and written to benchmarks/results/mlperf_tiny.json as it comes; a run that is cut off goes on with the
cells that are missing or of another commit. Instructions are emulated and exact, cycles estimated with the band that
stands beside them, SRAM planned, flash linked. The published rows (benchmarks/published.json) are silicon, measured by
others; TFLite Micro and TinyEngine were counted on the same kind of emulator (DATA/baselines.json). Draws
benchmarks/results/mlperf_tiny.svg (pip install 'mcuc[bench]').
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from mcuc.emulate import host
from mcuc.pipeline import compile_file
from mcuc.request import Request
from models import as_output, commit, host_outputs
from zoo import ZOO, load_golden

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "mlperf_tiny.json"
PICTURE = HERE / "results" / "mlperf_tiny.svg"
TASKS = {"ic": "ic_resnet8_int8", "kws": "kws_dscnn_int8", "vww": "vww96_int8", "ad": "ad_autoenc_int8"}
NOMINAL_MACS = {"ic": 12_501_632, "kws": 2_656_768, "vww": 7_489_664, "ad": 264_192}
BOARDS = ("nucleo-l4r5zi", "nucleo-h7a3zi-q", "nucleo-u575zi-q", "nucleo-g0b1re")
GOALS = ("latency", "balanced", "flash")


def measure(data: Path, task: str, board: str, goal: str, toolchain: str) -> dict[str, Any]:
    """One cell; raises AssertionError where an answer differs from the golden ones."""
    name = TASKS[task]
    with tempfile.TemporaryDirectory() as out:
        request = Request(board=board, optimize=goal, toolchain=toolchain)  # type: ignore[arg-type]
        made = compile_file(data / "models" / f"{name}.tflite", request, Path(out) / "out")
        report, graph = made.report, made.graph
        golden = load_golden(data, name)
        outs = host_outputs(graph, host.build(made.emitted, graph, Path(out) / "host"), golden["x"])
    entry = next(e for e in ZOO if e.name == name)
    differing = 0
    for i, (n, found) in enumerate(zip(graph.outputs, outs, strict=True)):
        wanted = as_output(graph, n, golden[f"{entry.oracle}{i}"])
        differing += int((found.reshape(len(found), -1) != wanted.reshape(len(found), -1)).sum())
    assert differing == 0 and report.verify.bit_exact, f"{task} on {board} differs"
    return {
        "commit": commit(),
        "instructions": report.instructions,
        "cycles": report.cycles,
        "cycles_band": report.cycles_band,
        "cycles_per_nominal_mac": round(report.cycles / NOMINAL_MACS[task], 3),
        "arena": report.sram.arena,
        "sram": report.sram.total,
        "flash": report.flash.total,
        "code": report.flash.code,
        "differing": differing,
    }


def printed(table: dict[str, Any], published: list[dict[str, Any]], counted: list[dict[str, Any]]) -> None:
    """The side-by-side, a board after the other. counted: rows of DATA/baselines.json."""
    for board in dict.fromkeys(cell["board"] for cell in table["cells"].values()):
        print(f"\n{board}: M cycles (instructions in M)")
        for key, cell in table["cells"].items():
            if cell["board"] == board:
                print(f"  mcuc {key.split('/', 1)[1]:24} {cell['cycles'] / 1e6:8.3f} +-{cell['cycles_band']:.0%} "
                      f"({cell['instructions'] / 1e6:.3f})  {cell['cycles_per_nominal_mac']:.2f} cycles/MAC, "
                      f"SRAM {cell['sram']:,}, flash {cell['flash']:,}, code {cell['code']:,}")
        for row in published:
            if row["board"] == board:
                figures = "  ".join(f"{task} {row[task]:.2f}" for task in TASKS)
                print(f"  {row['engine']} (v{row['round']}, silicon, published): {figures}")
    print("\nOther engines counted on the same kind of emulator: M instructions")
    for row in counted:
        task = next((t for t, name in TASKS.items() if row["model"] == name), None)
        if task is not None and row.get("instructions"):
            print(f"  {row['engine']:14} {row['build']:8} {task:4} {row['instructions'] / 1e6:8.3f}  "
                  f"SRAM {row['sram']:,}, flash {row['flash']:,}")


def drawn(table: dict[str, Any], published: list[dict[str, Any]]) -> None:
    """The picture: a group of bars a board and task, mcuc's --optimize latency beside every published row, with its
    band."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "mcuc"  # the same picture from the same figures
    boards = [b for b in BOARDS if any(c["board"] == b for c in table["cells"].values())]
    figure, axes = plt.subplots(len(boards), len(TASKS), figsize=(14, 2.6 * len(boards)), squeeze=False)
    for line, board in zip(axes, boards, strict=True):
        rows = [r for r in published if r["board"] == board]
        for axis, task in zip(line, TASKS, strict=True):
            own = [c for k, c in table["cells"].items() if k.startswith(f"{board}/{task} latency")]
            best = min(own, key=lambda c: int(c["cycles"]))
            values = [best["cycles"] / 1e6, *(r[task] for r in rows)]
            names = ["mcuc (estimated)", *(f"{r['engine']} v{r['round']}" for r in rows)]
            bars = axis.barh(range(len(values)), values, color=["#1f6feb", *["#b8bec6"] * len(rows)])
            axis.errorbar(values[0], 0, xerr=values[0] * best["cycles_band"], color="black", capsize=3, linewidth=1)
            axis.bar_label(bars, [f"{v:.2f}" for v in values], fontsize=7, padding=12)
            axis.set_yticks(range(len(values)), names if task == next(iter(TASKS)) else [""] * len(values), fontsize=7)
            axis.set_xlim(0, 1.25 * max(values))
            axis.invert_yaxis()
            axis.tick_params(axis="x", labelsize=7)
            axis.set_title(f"{task}, SRAM {best['sram'] / 1024:.0f} KB", fontsize=8)
        line[0].set_ylabel(board, fontsize=8)
    title = "MLPerf Tiny, million core cycles an inference (lower is better)\n"
    said = "mcuc: --optimize latency, estimated from emulated counts, with its band; the others: silicon, published"
    figure.suptitle(title + said, fontsize=9)
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--boards", default=",".join(BOARDS))
    parser.add_argument("--toolchains", default="zig,gcc")
    parser.add_argument("--goals", default=",".join(GOALS))
    args = parser.parse_args()
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"cells": {}}
    table["evidence"] = "instructions emulated, cycles estimated, SRAM planned, flash linked"
    for board in args.boards.split(","):
        for toolchain in args.toolchains.split(","):
            if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
                print("gcc: arm-none-eabi-gcc is not installed, its cells are left as they are")
                continue
            for goal in args.goals.split(","):
                for task in TASKS:
                    key = f"{board}/{task} {goal} {toolchain}"
                    if table["cells"].get(key, {}).get("commit") == commit():
                        continue
                    table["cells"][key] = {"board": board, **measure(args.data, task, board, goal, toolchain)}
                    RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))["rows"]
    counted = json.loads((args.data / "baselines.json").read_text(encoding="utf-8"))["runs"]
    printed(table, published, counted)
    drawn(table, published)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
