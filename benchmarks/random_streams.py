"""Random image networks cut at random into streams: the C of each, sanitized, against the NumPy reference.

    python benchmarks/random_streams.py --until 2000 [--batch 24] [--output FILE]

A network and its schedule follow from a seed (tests/stream/random_chains.py, random_schedules.py). Each plan is run on
memory that knows its bytes (tests/stream/tagged.py); then the C runs in both buffer modes, compiled with strict
warnings and with address and undefined behaviour sanitizers. For every fourth seed the same again with one buffer out
of its place, where the executor finds no fault in it. The run goes on after the last seed in FILE; a seed that fails
is recorded there, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.extend(str(Path(__file__).resolve().parent.parent / "tests" / name) for name in ("ops", "plan", "stream"))

from faults import moved
from harness import run_reference, samples
from random_chains import rolled
from random_schedules import random_schedule
from tagged import execute
from together import Part, build_together

from mcuc import passes
from mcuc.emulate import host
from mcuc.ir import Graph
from mcuc.plan import plan
from mcuc.schedule import Schedule, Segment

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "random_streams.json"
SAMPLES = 4  # of each network: all lowest, all highest, a narrow range, random
SHIFTS = (-8, -4, 4, 8, -12, 12, -16, 16)


def head() -> str:
    """The commit that these figures belong to, or unknown outside a checkout."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def compiler() -> str:
    """The first line that the host's compiler says of itself."""
    cc = next(path for name in ("gcc", "cc", "clang") if (path := shutil.which(name)))
    return subprocess.run([cc, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def kinds(schedule: Schedule) -> Counter[str]:
    """How many units of each kind."""
    found: Counter[str] = Counter()
    for unit in schedule.segments:
        if not isinstance(unit, Segment):
            found["alone"] += 1
            continue
        assert unit.stream is not None
        found[unit.kind + " of columns" * bool(unit.stream.steps)] += 1
        found["members"] += len(unit.members)
        found["rows in"] += unit.stream.pushed is not None
    return found


def misplaced(part: Part, seed: int) -> Part | None:
    """The plan with one buffer moved onto others, such that the executor finds nothing wrong; None without such."""
    graph, schedule, placed = part
    rng = np.random.default_rng(seed)
    for buffer in rng.permutation([b.id for b in placed.buffers if not b.id.endswith("/row")]):
        for distance in SHIFTS:
            other = moved(placed, str(buffer), distance)
            try:
                for outside in (False, True):
                    execute(graph, schedule, other, outside)
            except AssertionError:
                continue
            return graph, schedule, other
    return None


def compare(source: Graph, model: host.HostModel) -> tuple[int, int]:
    """Output elements compared, and how many of them differ."""
    inputs = samples(source, SAMPLES)
    wanted = run_reference(source, inputs)
    compared = differing = 0
    for inside in (False, True):
        found = host.run(model, inputs, inside=inside, timeout_s=60).outputs
        for n, outputs in enumerate(wanted):
            for expected, got in zip(outputs, found, strict=True):
                compared += expected.size
                differing += int(np.count_nonzero(expected.reshape(-1) != got[n].reshape(-1)))
    return compared, differing


def run_batch(seeds: Sequence[int], total: dict[str, Any]) -> None:
    """Adds what the seeds give to the figures."""
    labels, sources, parts = [], [], []
    for seed in seeds:
        source = rolled(seed)
        optimized = passes.optimize(source)
        schedule = random_schedule(optimized, seed)
        try:
            placed = plan(optimized, schedule, fast=bool(seed % 2))
            total["bytes_checked"] += sum(execute(optimized, schedule, placed, outside) for outside in (False, True))
        except Exception as error:
            total["failures"].append({"seed": seed, "where": "plan", "what": str(error)[:500]})
            continue
        total["graphs"] += 1
        total["layers"] += len(schedule.layers)
        total["units"] = dict(sorted((Counter(total["units"]) + kinds(schedule)).items()))
        found = [(f"{seed}", (optimized, schedule, placed))]
        other = misplaced(found[0][1], seed) if seed % 4 == 0 else None
        if other is not None:
            found.append((f"{seed} with a buffer moved", other))
            total["moved"] += 1
        for label, part in found:
            labels.append(label)
            sources.append(source)
            parts.append(part)
    with TemporaryDirectory() as folder:
        try:
            models = build_together(parts, Path(folder))
        except Exception as error:
            total["failures"].append({"seed": labels, "where": "compilation", "what": str(error)[:500]})
            return
        for label, source, model in zip(labels, sources, models, strict=True):
            try:
                compared, differing = compare(source, model)
            except Exception as error:
                total["failures"].append({"seed": label, "where": "run", "what": str(error)[:500]})
                continue
            total["samples"] += 2 * SAMPLES
            total["elements"] += compared
            total["differing"] += differing
            if differing:
                what = f"{differing} of {compared} differ"
                total["failures"].append({"seed": label, "where": "outputs", "what": what})


def load(path: Path) -> dict[str, Any]:
    """The figures so far."""
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    return {
        "figure": "random networks in random streams: output elements of the C that differ from the NumPy reference",
        "evidence": "measured on the host",
        "toolchain": {"python": platform.python_version(), "compiler": compiler(), "machine": platform.machine(),
                      "sanitizers": "address, undefined"},
        "runs": [],
        "graphs": 0,
        "layers": 0,
        "units": {},
        "moved": 0,
        "samples": 0,
        "elements": 0,
        "differing": 0,
        "bytes_checked": 0,
        "failures": [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--until", type=int, default=2000, help="the first seed that is not run")
    parser.add_argument("--batch", type=int, default=24, help="networks in one compilation")
    parser.add_argument("--commit", default=head(), help="what the figures belong to, where this is no checkout")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    total = load(arguments.output)
    begin = max((end for run in total["runs"] for end in run["seeds"]), default=0)
    for first in range(begin, arguments.until, arguments.batch):
        seeds = range(first, min(arguments.until, first + arguments.batch))
        run_batch(seeds, total)
        if not total["runs"] or total["runs"][-1]["commit"] != arguments.commit:
            total["runs"].append({"commit": arguments.commit, "seeds": [seeds.start, seeds.stop]})
        total["runs"][-1]["seeds"][1] = seeds.stop
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(total, indent=2) + "\n", encoding="utf-8")
        print(f"{total['graphs']} graphs, {total['elements']} elements, {total['differing']} differ, "
              f"{len(total['failures'])} failures", flush=True)
    sys.exit(1 if total["failures"] else 0)


if __name__ == "__main__":
    main()
