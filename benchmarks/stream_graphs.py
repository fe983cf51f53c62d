"""Random networks cut at random into streams, strips, groups of channels and layers alone, against the reference.

    python benchmarks/stream_graphs.py [--graphs 2000] [--batch 24]

Every network's C (gcc, ASan and UBSan, warnings are errors) runs in both buffer modes against the NumPy reference, and
its plan on memory that knows what every byte is (tests/stream/tagged.py). Network and cut follow from a number, so that
a batch can be run again. Writes benchmarks/results/stream_graphs.json after every batch; a run that is cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "ops"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "plan"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "stream"))
from random_chains import rolled
from random_streams import random_schedule
from tagged import execute
from together import check_together

from mcuc import passes
from mcuc.plan import plan
from mcuc.schedule import Segment
from models import commit

RESULTS = Path(__file__).parent / "results" / "stream_graphs.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=24)
    args = parser.parse_args()
    done = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    counts = {k: int(done.get(k, 0)) for k in ("graphs", "streams", "strips", "groups", "elements", "tagged_bytes")}
    commits = set(done.get("commits", []))
    while counts["graphs"] < args.graphs:
        seeds = range(counts["graphs"], counts["graphs"] + args.batch)
        sources, parts = [rolled(seed) for seed in seeds], []
        for seed, source in zip(seeds, sources, strict=True):
            graph = passes.optimize(source)
            schedule = random_schedule(graph, seed)
            placed = plan(graph, schedule, fast=bool(seed % 2))
            parts.append((graph, schedule, placed))
            counts["tagged_bytes"] += sum(execute(graph, schedule, placed, outside) for outside in (False, True))
            streams = [u.stream for u in schedule.segments if isinstance(u, Segment) and u.stream is not None]
            counts["streams"] += len(streams)
            counts["strips"] += sum(bool(s.strips) for s in streams)
            counts["groups"] += sum(bool(s.group) for s in streams)
        with tempfile.TemporaryDirectory() as folder:
            counts["elements"] += check_together(sources, parts, Path(folder))
        counts["graphs"] += args.batch
        commits.add(commit())
        table = {
            "about": "elements: compared with the NumPy reference, none differs (a difference ends the run); "
            "tagged_bytes: read on memory that knows what every byte is; network n: rolled(n), random_schedule(n)",
            "differing": 0,
            "commits": sorted(commits),
            **counts,
        }
        RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(counts, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
