"""Model files damaged at random through mcuc: each must be refused with an error, or be valid.

    python benchmarks/mutated_files.py DATA [--count N] [--seed S] [--output FILE]

DATA is the shared data folder. Mutants of all its .tflite and .onnx files and of exports of small networks, float ones
included, go through `mcuc check` and the front half of `mcuc compile` (import, passes, what is supported, a plan); some
of those of small float files also through quantization. Each in a child process that may take 1 GB above the
interpreter's own and 10 seconds of CPU a step (tests/importers/isolated.py). A crash, a hang, memory or any exception
but a McucError is a failure: it is printed, kept in FILE, and the exit status is 1. A case follows from its seed and
number: `--only NUMBER` repeats one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that a fork does not take along
import numpy as np

sys.path.extend(str(Path(__file__).resolve().parent.parent / "tests" / name) for name in ("importers", "ops"))
sys.path.insert(0, str(Path(__file__).parent))
from hostile_seeds import folder_seeds, small_seeds, surroundings
from isolated import CPU_SECONDS, MEMORY, Outcome, judged
from mutations import Seed, mutated

from models import commit

RESULTS = Path(__file__).parent / "results" / "mutated_files.json"
SHOWN = 10
QUANTIZED = 20  # one case in so many of small float files, each starting two processes
SEEDS: list[Seed] = []


def case(number: int, seed: int) -> tuple[Seed, str, bytes]:
    """Small files more often than large ones, every file now and then."""
    rng = np.random.default_rng([seed, number])
    if number % 50 == 0:
        chosen = SEEDS[number // 50 % len(SEEDS)]
    else:
        weights = np.array([1 / max(len(s.raw), 4000) for s in SEEDS])
        chosen = SEEDS[int(rng.choice(len(SEEDS), p=weights / weights.sum()))]
    return chosen, *mutated(chosen, rng)


def run(number: int, seed: int, folder: str) -> tuple[str, str, Outcome]:
    """One case, in a folder of the process's own."""
    own = Path(folder) / str(os.getpid()) / "models"
    surroundings(own)
    chosen, done, raw = case(number, seed)
    path = own / f"case{chosen.suffix}"
    path.write_bytes(raw)
    return chosen.name, done, judged(path, chosen.converts and number % QUANTIZED == 0)


def summary(found: list[tuple[int, str, str, Outcome]], seed: int) -> dict[str, Any]:
    """The figures of a run."""
    failed = [(n, name, done, o) for n, name, done, o in found if o.failure]
    kinds = Counter(kind for _, _, done, _ in found for kind in done.split("+"))
    return {
        "about": "mutants of model files; each is refused with a McucError or valid, in a child process with limits",
        "commit": commit(),
        "python": platform.python_version(),
        "limits": {"bytes_above_the_interpreter": MEMORY, "cpu_seconds": CPU_SECONDS},
        "seed": seed,
        "cases": len(found),
        "failed": len(failed),
        "failures": [{"number": n, "file": f, "mutation": d, "failure": o.failure} for n, f, d, o in failed[:SHOWN]],
        "quantized": sum(bool(o.float) for *_, o in found),
        "files": dict(sorted(Counter(name for _, name, _, _ in found).items())),
        "mutations": dict(sorted(kinds.items())),
        "outcomes": {
            step: dict(sorted(Counter(getattr(o, step) for *_, o in found if getattr(o, step)).items()))
            for step in ("check", "front", "float")
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    SEEDS.extend([*small_seeds(), *folder_seeds(args.data / "models")])
    found: list[tuple[int, str, str, Outcome]] = []
    with TemporaryDirectory(prefix="mcuc-mutants-") as folder:
        if args.only is not None:
            print(run(args.only, args.seed, folder))
            return 0
        with ProcessPoolExecutor(args.jobs) as pool:
            for number in range(0, args.count, 200):
                part = range(number, min(number + 200, args.count))
                jobs = [pool.submit(run, n, args.seed, folder) for n in part]
                for n, job in zip(part, jobs, strict=True):
                    name, done, outcome = job.result()
                    found.append((n, name, done, outcome))
                    if outcome.failure:
                        print(n, name, done, outcome.failure, flush=True)
                print(f"{len(found)} cases, {sum(bool(o.failure) for *_, o in found)} failed", flush=True)
    result = summary(found, args.seed) | {"arguments": f"--count {args.count} --seed {args.seed}"}
    args.output.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
