"""Place every CSV of a folder (columns id,lower,upper,size) and record how low and how fast.

    python benchmarks/placement.py FOLDER [--capacity BYTES] [--time-limit SECONDS] [--output FILE]

A file named NAME.BYTES.csv has the capacity BYTES, as in MiniMalloc's benchmarks. Figures are planned bytes; seconds
are processor time of this machine on one core, the compilation of the native search excluded.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path

from mcuc.plan import _native
from mcuc.plan.csvio import read_csv
from mcuc.plan.place import place
from mcuc.plan.validate import validate

RESULTS = Path(__file__).parent / "results" / "placement.json"


def capacity_of(path: Path) -> int | None:
    """The BYTES of NAME.BYTES.csv."""
    middle = path.name.split(".")[1:-1]
    return int(middle[-1]) if middle and middle[-1].isdigit() else None


def commit() -> str:
    """The commit that these figures belong to, or unknown outside a checkout."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--capacity", type=int, help="stop at the first placement within so many bytes")
    parser.add_argument("--time-limit", type=float, default=10.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*.csv"))
    if not paths:
        parser.error(f"no .csv file in {arguments.folder}")

    native = _native.load() is not None
    rows = []
    print(f"{'instance':<24} {'buffers':>7} {'peak':>9} {'bound':>9} {'capacity':>9}  within optimal   nodes seconds")
    for path in paths:
        buffers = read_csv(path)
        capacity = arguments.capacity or capacity_of(path)
        begin = time.process_time()
        placement = place(buffers, capacity=capacity, time_limit_s=arguments.time_limit)
        seconds = time.process_time() - begin
        validate(buffers, placement.offsets, placement.peak)
        within = None if capacity is None else placement.peak <= capacity
        row = {
            "instance": path.name,
            "buffers": len(buffers),
            "peak": placement.peak,
            "lower_bound": placement.lower_bound,
            "optimal": placement.optimal,
            "capacity": capacity,
            "within_capacity": within,
            "nodes": placement.nodes,
            "seconds": round(seconds, 3),
        }
        rows.append(row)
        print(
            f"{path.name:<24} {len(buffers):>7} {placement.peak:>9} {placement.lower_bound:>9} {capacity or '':>9}  "
            f"{within!s:<6} {placement.optimal!s:<7} {placement.nodes:>7} {seconds:.3f}"
        )
    document = {
        "figure": "buffer placement: arena bytes and solve time",
        "evidence": "planned",
        "toolchain": {"python": platform.python_version(), "native_search": native, "machine": platform.machine()},
        "commit": commit(),
        "instances": rows,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
