"""How long `mcuc compile` takes as a whole process, and how long planning one candidate of the search takes.

    python benchmarks/compile_time.py DATA [--runs N]

DATA is the shared data folder. Writes benchmarks/results/compile_time.json: seconds of wall time (minimum, median),
after one run that fills the toolchain's caches, on the machine named there. Evidence: measured on this host.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mcuc.search.cost import planned
from mcuc.search.spaces.ds_conv import sample, space_for, to_layers
from mcuc.targets import load_board

RESULTS = Path(__file__).parent / "results" / "compile_time.json"
CASES = (
    ("kws_dscnn_int8", "nucleo-l4r5zi", ()),
    ("kws_dscnn_int8", "nucleo-l4r5zi", ("--budget", "min")),
    ("mbv2_100_224_u8", "mps2-an500", ()),
    ("mbv2_100_224_u8", "mps2-an500", ("--budget", "min")),
)
TUNED = ("mbv2_100_224_u8", "mps2-an500", ("--optimize", "latency", "--tune", "full"))
CANDIDATES = 50


def compile_seconds(model: Path, board: str, options: Sequence[str], runs: int, cold: bool = False) -> list[float]:
    """Wall seconds of `mcuc compile` as a process of its own; the first, uncounted run warms the caches.

    cold: every run counts, and finds an empty cache of measured kernels.
    """
    seconds = []
    for run in range(runs + (not cold)):
        with tempfile.TemporaryDirectory() as folder:
            words = ["compile", str(model), "--board", board, *options, "-o", f"{folder}/out"]
            environment = {**os.environ, **({"XDG_CACHE_HOME": f"{folder}/cache"} if cold else {})}
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "mcuc", *words], check=True, capture_output=True, env=environment)
            if run or cold:
                seconds.append(time.perf_counter() - start)
    return seconds


def planning_seconds() -> list[float]:
    """Wall seconds to build, optimize, schedule and place one random candidate, for each of CANDIDATES.

    The first candidate is not counted: it loads the operators' modules.
    """
    board, space, rng = load_board("nucleo-f746zg"), space_for((96, 96, 3), 10), np.random.default_rng(0)
    seconds = []
    for _ in range(CANDIDATES + 1):
        layers = to_layers(space, sample(space, rng))
        start = time.perf_counter()
        planned(layers, board)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def figures(seconds: list[float]) -> dict[str, float]:
    return {
        "minimum": round(min(seconds), 4),
        "median": round(statistics.median(seconds), 4),
        "maximum": round(max(seconds), 4),
        "runs": len(seconds),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    table: dict[str, object] = {
        "evidence": "wall seconds measured on this host",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    table["planning one candidate (96x96 space)"] = figures(planning_seconds())
    for name, board, options in CASES:
        seconds = compile_seconds(args.data / "models" / f"{name}.tflite", board, options, args.runs)
        table[" ".join(["mcuc compile", name, "--board", board, *options])] = figures(seconds)
    name, board, options = TUNED
    seconds = compile_seconds(args.data / "models" / f"{name}.tflite", board, options, 1, cold=True)
    table[" ".join(["mcuc compile", name, "--board", board, *options])] = figures(seconds)
    RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
