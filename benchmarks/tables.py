"""The README's tables from benchmarks/results: prints them, or with --write puts them between the README's markers.

python benchmarks/tables.py [--write]
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def load(name: str) -> dict[str, Any]:
    """A results file by its name without ending; empty where the benchmark has not been run."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def models_table() -> str:
    """Models on the emulated Cortex-M4 beside TFLite Micro with CMSIS-NN; agreement on all boards measured."""
    lines = [
        "| model | arena B | TFLM | flash B | TFLM | M instructions | TFLM | host samples "
        "| emulated | differing | score |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    cells = load("models").get("cells", {})
    if not cells:
        raise SystemExit("benchmarks/results/models.json is missing: python benchmarks/models.py DATA")
    for key, cell in cells.items():
        name, board = key.split()
        if board != "mps2-an386":
            continue
        rival = cell.get("tflm_cmsis_nn", {})
        lines.append(
            f"| {name} | {cell['arena']:,} | {_number(rival.get('arena_used'))} | {cell['flash']:,} | "
            f"{_number(rival.get('flash'))} | {_millions(cell['instructions'])} | "
            f"{_millions(rival.get('instructions'))} | "
            f"{_agreement(cell, [c for k, c in cells.items() if k.split()[0] == name])} |"
        )
    return "\n".join(lines)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _millions(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.3f}"


def _agreement(cell: dict[str, Any], boards: list[dict[str, Any]]) -> str:
    """Host samples compared with the outside runtime, emulated ones of all boards, differing elements, score."""
    real = cell.get("samples", {})
    hosted = cell["golden"]["samples"] + (real["count"] if "differing_from_tflite_micro" in real else 0)
    wrong = sum(c["golden"]["differing"] + c["emulated"]["differing"] for c in boards)
    wrong += real.get("differing_from_tflite_micro", 0)
    score = next(
        (f"{k} {real[k]:.3f} (file: {real['published'].split(';')[0]})" for k in ("accuracy", "auc") if k in real), "-"
    )
    return f"{hosted:,} | {sum(c['emulated']['samples'] for c in boards)} | {wrong} | {score}"


def timing_table() -> str:
    """Wall times of this host."""
    table = load("compile_time")
    if not table:
        raise SystemExit("benchmarks/results/compile_time.json is missing: python benchmarks/compile_time.py DATA")
    lines = ["| what | median s | maximum s | runs |", "|---|---|---|---|"]
    lines += [
        f"| {k} | {v['median']:.3f} | {v['maximum']:.3f} | {v['runs']} |"
        for k, v in table.items()
        if isinstance(v, dict)
    ]
    return "\n".join(lines)


def build_table() -> str:
    """Builds on the bundled data set under 320 KB."""
    lines = [
        "| build | seconds | int8 accuracy | float | arena B | flash B | MCycles (estimated) |",
        "|---|---|---|---|---|---|---|",
    ]
    for what, v in load("build").items():
        accuracy = v["accuracy"]
        lines.append(
            f"| {what} | {v['seconds']:.0f} | {accuracy['int8']:.4f} | {accuracy['float']:.4f} | {v['arena']:,} | "
            f"{v['flash']:,} | {v['cycles'] / 1e6:.2f} |"
        )
    return "\n".join(lines)


def memory_table() -> str:
    """Arenas of the schedules from the fastest to the smallest, extra instructions beside them."""
    lines = [
        "| model | TFLM | best other | fastest | balanced | `--budget min` | with `--rows-in` | differing |",
        "|---|---|---|---|---|---|---|---|",
    ]
    table = load("memory")
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for key, cell in table.get("cells", {}).items():
        name, _, mode = key.split(" ", 2)
        cells.setdefault(name, {})[mode] = cell
    if not cells:
        raise SystemExit("benchmarks/results/memory.json is missing: python benchmarks/memory.py DATA")
    for name, modes in cells.items():
        best = table["best_other_kb"].get(name)
        apart = " (image apart)" if best is not None and "image apart" in best["source"] else ""
        first = next(iter(modes.values()))
        wrong = sum(c["golden"]["differing"] + c["emulated"]["differing"] for c in modes.values())
        columns = [
            _number(first["tflm_arena"]),
            "-" if best is None else f"{round(best['kb'] * 1024):,}{apart}",
            f"{first['fastest']['arena']:,}",
            *(_arena(modes.get(mode)) for mode in ("balanced", "min", "min rows in")),
            str(wrong),
        ]
        lines.append(f"| {name} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _arena(cell: dict[str, Any] | None) -> str:
    """Bytes, and what the schedule costs in instructions against the fastest, of that MACs computed twice."""
    if cell is None:
        return "-"
    again = f", {100 * cell['extra_macs']:.0f} % of MACs again" if cell["extra_macs"] else ""
    return f"{cell['arena']:,} ({100 * cell['extra_instructions']:+.1f} %{again})"


def mlperf_table() -> str:
    """The MLPerf Tiny models at --optimize latency: cycles and SRAM, beside the best that others published."""
    cells = load("mlperf_tiny").get("cells", {})
    if not cells:
        raise SystemExit("benchmarks/results/mlperf_tiny.json is missing: python benchmarks/mlperf_tiny.py DATA")
    published = json.loads((ROOT / "benchmarks" / "published.json").read_text(encoding="utf-8"))["rows"]
    tasks = ("ic", "kws", "vww", "ad")
    lines = ["| board | engine | IC | KWS | VWW | AD |", "|---|---|---|---|---|---|"]
    for board in dict.fromkeys(cell["board"] for cell in cells.values()):
        own = [cells.get(f"{board}/{task} latency zig") for task in tasks]
        lines.append(f"| {board} | mcuc (estimated) | {' | '.join(map(_own, own))} |")
        rows = [row for row in published if row["board"] == board]
        figures = [f"{row[task]:.2f} ({row['engine']})" for task in tasks for row in [_best(rows, task)]]
        lines.append(f"| | best published (silicon) | {' | '.join(figures)} |")
    return "\n".join(lines)


def _best(rows: list[dict[str, Any]], task: str) -> dict[str, Any]:
    return min(rows, key=lambda row: float(row[task]))


def _own(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "-"
    return f"{cell['cycles'] / 1e6:.2f} ±{100 * cell['cycles_band']:.0f} % in {cell['sram'] / 1024:.0f} KB"


def quantization_table() -> str:
    """Float models through post-training quantization, on samples that did not calibrate."""
    lines = [
        "| float model | judged on | float | the C | only float right | only the C right | difference, 95 % "
        "| int16 values, four-bit layers | .tflite | instructions |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, cell in load("ptq").get("cells", {}).items():
        if "auc" in cell:
            row = [f"{cell['judged']:,} windows", f"AUC {cell['auc']['float']:.4f}", f"AUC {cell['auc']['int8']:.4f}"]
            lines.append(f"| {name} | {' | '.join(row)} | - | - | - | {_mixed(cell)} |")
            continue
        a = cell["accuracy"]
        ends = f"{100 * a['low']:+.2f} to {100 * a['high']:+.2f} points"
        figures = [f"{a['samples']:,} images", f"{100 * a['float']:.2f} %", f"{100 * a['int8']:.2f} %"]
        lines.append(f"| {name} | {' | '.join(figures)} | {a['lost']} | {a['gained']} | {ends} | {_mixed(cell)} |")
    return "\n".join(lines)


def _mixed(cell: dict[str, Any]) -> str:
    """What is not int8, and what the network takes."""
    other = f"{cell.get('int16_values', 0)}, {cell.get('int4_layers', 0)}"
    return f"{other} | {cell['tflite_bytes']:,} B | {cell['instructions'] / 1e6:.2f} M"


TABLES = {
    "build": build_table,
    "memory": memory_table,
    "mlperf": mlperf_table,
    "models": models_table,
    "quantization": quantization_table,
    "timing": timing_table,
}


def filled(text: str) -> str:
    """The text with every table between its markers as the results have it now."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        text = pattern.sub(lambda m, t=table: f"{m[1]}{t()}\n{m[2]}", text)  # type: ignore[misc]
    return text


def main() -> int:
    readme = ROOT / "README.md"
    if "--write" in sys.argv[1:]:
        readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(table() for table in TABLES.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
