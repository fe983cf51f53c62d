"""Cycles from counts: what the constants mean, and how far they are from silicon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cycle_model
from mcuc.emulate.counted import CONSTANTS, Counts, cycles_of
from mcuc.targets import load_board

BOARDS = {"cortex-m0plus": "nucleo-g0b1re", "cortex-m4": "nucleo-l4r5zi", "cortex-m33": "nucleo-u575zi-q",
          "cortex-m7": "nucleo-h7a3zi-q"}
RESULTS = json.loads(cycle_model.RESULTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("core", BOARDS)
def test_each_count_costs_what_its_constant_says(core: str) -> None:
    chip, c = load_board(BOARDS[core]).chip, CONSTANTS[core]
    base = cycles_of(Counts(1000, 0, 0), chip)
    assert base == pytest.approx(1000 * c.pace)
    assert cycles_of(Counts(1000, 10, 0), chip) - base == pytest.approx(10 * c.refetch)
    assert cycles_of(Counts(1000, 0, 10), chip) - base == pytest.approx(10 * chip.flash.fill_cycles)
    assert chip.flash.fill_cycles > 0


def test_a_chip_without_wait_states_has_no_lines_to_wait_for() -> None:
    chip = load_board("mps2-an386").chip
    assert cycles_of(Counts(1000, 0, 50), chip) == 1000


def test_the_errors_of_programs_that_were_not_fitted_stay_within_the_promise(shared_data: Path) -> None:
    judged = []
    for r in cycle_model.read(shared_data / "silicon.json"):
        if r.name not in cycle_model.FITTED and r.name not in cycle_model.LINES_FROM:
            judged.append(abs(cycles_of(r.counts, r.board.chip) / r.silicon - 1))
    assert len(judged) == RESULTS["judged"]["count"] >= 11
    assert sum(judged) / len(judged) <= 0.05 and max(judged) <= 0.12


def test_the_constants_are_those_of_the_fit() -> None:
    for core, found in RESULTS["fits"].items():
        assert CONSTANTS[core].pace == pytest.approx(found["pace"], abs=0.001)
        assert CONSTANTS[core].refetch == pytest.approx(found["refetch"], abs=0.01)


def test_the_band_is_twice_the_worst_error_of_what_was_not_fitted() -> None:
    for core, constants in CONSTANTS.items():
        cases = [c for c in RESULTS["cases"].values() if c["core"] == core]
        worst = max([abs(c["error_left_out"]) for c in cases]
                    + [abs(c["error"]) for c in cases if c["kind"] == "judged"])
        assert constants.band == pytest.approx(max(0.05, 2 * worst), abs=0.011)


def test_a_record_that_lacks_a_count_is_named(tmp_path: Path) -> None:
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps({"cases": [{"board": "NUCLEO-L4R5ZI", "core": "cortex-m4", "config": "x",
                                            "model": "ad_x", "cycles_m4_est": 1, "silicon_cycles": 1}]}))
    with pytest.raises(SystemExit, match="case 0: no 'memory'"):
        cycle_model.read(cases)
