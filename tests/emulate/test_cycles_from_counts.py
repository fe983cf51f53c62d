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


@pytest.mark.parametrize("core", CONSTANTS)
def test_the_constants_are_those_of_the_fit(core: str, shared_data: Path) -> None:
    """Fitted anew, on the programs that are named for it."""
    records = cycle_model.read(shared_data / "silicon.json")
    again = cycle_model.fit([r for r in records if r.name in cycle_model.FITTED], core)
    assert CONSTANTS[core].pace == pytest.approx(again.pace, abs=0.001)
    assert CONSTANTS[core].refetch == pytest.approx(again.refetch, abs=0.01)
    found = RESULTS["fits"][core]
    assert (found["pace"], found["refetch"]) == (round(again.pace, 3), round(again.refetch, 2))


@pytest.mark.parametrize("core", CONSTANTS)
def test_the_band_is_at_least_twice_the_worst_error_of_what_was_not_fitted(core: str, shared_data: Path) -> None:
    """Of judged programs, and of every program left out of a fit on its core's others; a hundredth above at most."""
    own = [r for r in cycle_model.read(shared_data / "silicon.json") if r.board.chip.core == core]
    judged = [r for r in own if r.name not in cycle_model.FITTED and r.name not in cycle_model.LINES_FROM]
    errors = [cycle_model.error(r, CONSTANTS[core]) for r in judged]
    errors += [cycle_model.error(r, cycle_model.fit([o for o in own if o is not r], core)) for r in own]
    promised = max(0.05, 2 * max(map(abs, errors)))
    assert promised - 0.0005 <= CONSTANTS[core].band <= promised + 0.011


def test_a_record_that_lacks_a_count_is_named(tmp_path: Path) -> None:
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps({"cases": [{"board": "NUCLEO-L4R5ZI", "core": "cortex-m4", "config": "x",
                                            "model": "ad_x", "cycles_m4_est": 1, "silicon_cycles": 1}]}))
    with pytest.raises(SystemExit, match="case 0: no 'memory'"):
        cycle_model.read(cases)
