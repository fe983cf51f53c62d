"""How long `mcuc build --budget 320KB` takes as a whole process with empty caches, and what it reaches.

    python benchmarks/build.py [--seed N] [--effort quick]
    python benchmarks/build.py --finished FOLDER --seconds N --commit C    a run of `make demo` that was timed

Writes benchmarks/results/build.json, one entry an effort and seed: wall seconds measured on this host, accuracy of the
generated C on the 2,000 test images (host), bytes linked and planned, cycles estimated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from models import commit

RESULTS = Path(__file__).parent / "results" / "build.json"


def run(seed: int, effort: str) -> tuple[dict[str, Any], float]:
    """report.json and wall seconds of one build with caches of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mcuc", "build", "--budget", "320KB", "--json", "-o", f"{folder}/out"]
        command += ["--seed", str(seed), "--effort", effort]
        environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return json.loads(done.stdout), time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--finished", type=Path)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--commit", default="")
    args = parser.parse_args()
    if args.finished is None:
        report, seconds, measured = *run(args.seed, args.effort), commit()
    else:
        report = json.loads((args.finished / "report.json").read_text(encoding="utf-8"))
        seconds, measured = args.seconds, args.commit
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    table[f"{args.effort}, seed {args.seed}"] = {
        "seconds": round(seconds, 1),
        "cores": os.cpu_count(),
        "accuracy": {key: report["accuracy"][key] for key in ("float", "int8", "negative_flips", "samples")},
        "arena": report["sram"]["arena"],
        "flash": report["flash"]["total"],
        "cycles": report["cycles"],
        "cycles_band": report["cycles_band"],
        "verified": report["verify"]["bit_exact"],
        "quantization": next(note for note in report["notes"] if note.startswith("right of")),
        "commit": measured,
    }
    RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
