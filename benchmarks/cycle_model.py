"""The cycle model against programs whose time on silicon is published.

    python benchmarks/cycle_model.py [--cases FILE] [DATA]

FILE: records of the form of DATA/silicon.json (the default): exact instruction counts and memory statistics of
programs, with their silicon cycles. DATA is the shared data folder. Prints estimate, silicon and error of every record,
which the constants were fitted on and which they are judged by, the constants that a new fit gives, and the errors when
each record in turn is left out of a fit on all others. Writes benchmarks/results/cycle_model.json when it ran on DATA.
Evidence: silicon, published elsewhere; the estimates are estimates.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.emulate.counted import CONSTANTS, Constants, Counts, cycles_of
from mcuc.targets import Board, load_board

RESULTS = Path(__file__).parent / "results" / "cycle_model.json"
BOARDS = {
    "NUCLEO-L4R5ZI": "nucleo-l4r5zi",
    "NUCLEO-U575ZI-Q": "nucleo-u575zi-q",
    "NUCLEO-H7A3ZI-Q": "nucleo-h7a3zi-q",
    "DISCO-F746NG": "stm32f746g-disco",
    "NUCLEO-G0B1RE": "nucleo-g0b1re",
}
# The published-timing estimate that a core's constants go with.
ZERO_WAIT = {
    "cortex-m0plus": "cycles_m0plus_est",
    "cortex-m4": "cycles_m4_est",
    "cortex-m33": "cycles_m4_est",
    "cortex-m7": "cycles_m7_est",
}
# Fitted on: pace and refetch. The two AD programs of a board, which differ only in where the weights lie, give what a
# line of its flash costs (chip TOML); on the Cortex-M0+, which has one of them, it is fitted with the rest.
FITTED = (
    "NUCLEO_L4R5ZI_int8 ic",
    "NUCLEO_L4R5ZI_int8 kws",
    "NUCLEO_U575ZI_int8 ic",
    "NUCLEO_U575ZI_int8 kws",
    "DISCO_F746NG_int8 ic",
    "DISCO_F746NG_int8 kws",
    "DISCO_F746NG_int8 vww96",
    "DISCO_F746NG_int8_max_performance ad",
    "NUCLEO_G0B1RE_int8 ic",
    "NUCLEO_G0B1RE_int8 ad",
)
LINES_FROM = ("NUCLEO_L4R5ZI_int8 ad", "NUCLEO_U575ZI_int8 ad", "DISCO_F746NG_int8 ad", "NUCLEO_H7A3ZI_int8 ad")


@dataclass(frozen=True)
class Record:
    """One program: its counts, and what it took on silicon in cycles."""

    name: str
    board: Board
    counts: Counts
    silicon: int


def read(path: Path) -> list[Record]:
    """The records of a file. Raises SystemExit with what is missing where one is not of the form."""
    found = []
    for number, case in enumerate(json.loads(path.read_text(encoding="utf-8"))["cases"]):
        try:
            board = load_board(BOARDS[case["board"]])
            name = f"{case['config']} {case['model'].split('_')[0]}"
            counts = Counts(case[ZERO_WAIT[case["core"]]], case["memory"]["taken_transfers"], lines(case))
            found.append(Record(name, board, counts, case["silicon_cycles"]))
        except KeyError as missing:
            raise SystemExit(
                f"{path}, case {number}: no {missing}; give every case the keys that those of DATA/silicon.json have"
            ) from None
    return found


def lines(case: Mapping[str, Any]) -> int:
    """Lines read from flash past the chip's caches: data, and code where the cache holds no data.

    The Cortex-M33's cache is one for both; a Cortex-M0+'s fetches are in its refetch, its data reads go past the cache.
    """
    memory = case["memory"]
    code = {name: value["misses"] for name, value in memory["icache_sim"].items()}
    unified = [n for name, n in code.items() if "unified" in name]
    if unified:
        return max(0, unified[0])
    data = memory["data"].get("flash", {}).get("dcache_misses", {})
    of_chip = [v["read"] for name, v in data.items() if name.startswith(("art", "l1", "fa_1x"))]
    fetched = 0 if case["core"] == "cortex-m0plus" else max(0, next(iter(code.values())))
    return max(0, of_chip[0] if of_chip else 0) + fetched


def fit(records: Sequence[Record], core: str) -> Constants:
    """By least squares of relative errors: pace of cores that issue two instructions at once, refetch of the others."""
    band = CONSTANTS[core].band
    own = [r for r in records if r.board.chip.core == core]
    rest = np.array([r.silicon - r.board.chip.flash.fill_cycles * r.counts.lines for r in own])
    silicon = np.array([r.silicon for r in own], np.float64)
    zero_wait = np.array([r.counts.zero_wait for r in own])
    if core in ("cortex-m7", "cortex-m33"):
        a = zero_wait / silicon
        return Constants(float(a @ (rest / silicon) / (a @ a)), 0.0, band)
    a = np.array([r.counts.taken for r in own]) / silicon
    return Constants(1.0, float(a @ ((rest - zero_wait) / silicon) / (a @ a)), band)


def error(record: Record, constants: Constants) -> float:
    """Relative, of the estimate with these constants."""
    return cycles_of(record.counts, record.board.chip, constants) / record.silicon - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--cases", type=Path)
    args = parser.parse_args()
    if (args.data is None) == (args.cases is None):
        parser.error("name the shared data folder, or a file with --cases")
    records = read(args.cases or args.data / "silicon.json")
    table: dict[str, Any] = {"evidence": "silicon, published elsewhere; estimates beside it", "cases": {}, "fits": {}}
    judged = []
    for r in records:
        kind = "fitted" if r.name in FITTED else "line cost" if r.name in LINES_FROM else "judged"
        left_out = [o for o in records if o is not r and o.board.chip.core == r.board.chip.core]
        estimate = cycles_of(r.counts, r.board.chip)
        found = {
            "core": r.board.chip.core,
            "kind": kind,
            "estimate": round(estimate),
            "silicon": r.silicon,
            "error": round(estimate / r.silicon - 1, 4),
            "error_left_out": round(error(r, fit(left_out, r.board.chip.core)), 4) if left_out else None,
        }
        table["cases"][r.name] = found
        judged += [abs(found["error"])] if kind == "judged" else []
        out = "" if found["error_left_out"] is None else f"  left out of the fit {found['error_left_out']:+.1%}"
        print(f"{r.name:42} {kind:9} {estimate / 1e6:9.3f} M +-{CONSTANTS[r.board.chip.core].band:.0%}  "
              f"silicon {r.silicon / 1e6:9.3f} M  {found['error']:+.1%}{out}")
    for core in CONSTANTS:
        own = [r for r in records if r.board.chip.core == core and r.name in FITTED]
        if own:
            again = fit(own, core)
            table["fits"][core] = {"pace": round(again.pace, 3), "refetch": round(again.refetch, 2)}
            print(f"{core}: a fit gives pace {again.pace:.3f}, refetch {again.refetch:.2f}; "
                  f"in use {CONSTANTS[core].pace}, {CONSTANTS[core].refetch}")
    if judged:
        mean, worst = float(np.mean(judged)), max(judged)
        table["judged"] = {"mean": round(mean, 4), "worst": round(worst, 4), "count": len(judged)}
        print(f"judged: {len(judged)} programs, mean error {mean:.1%}, worst {worst:.1%}")
    if args.cases is None:
        RESULTS.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
