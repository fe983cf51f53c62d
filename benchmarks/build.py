"""How long `mcuc build --budget 320KB` takes as a whole process with empty caches, and what it reaches.

    python benchmarks/build.py [--seed N] [--effort quick]

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

from models import commit

RESULTS = Path(__file__).parent / "results" / "build.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--effort", default="quick")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mcuc", "build", "--budget", "320KB", "--json", "-o", f"{folder}/out"]
        command += ["--seed", str(args.seed), "--effort", args.effort]
        start = time.perf_counter()
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
        )
        seconds = time.perf_counter() - start
    report = json.loads(done.stdout)
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    table[f"{args.effort}, seed {args.seed}"] = {
        "seconds": round(seconds, 1),
        "cores": os.cpu_count(),
        "accuracy": report["accuracy"],
        "arena": report["sram"]["arena"],
        "flash": report["flash"]["total"],
        "cycles": report["cycles"],
        "cycles_band": report["cycles_band"],
        "verified": report["verify"]["bit_exact"],
        "commit": commit(),
    }
    RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
