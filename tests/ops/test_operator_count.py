"""The count of proven operators: an alias counts once, a case that fails not at all; the committed count holds."""

from __future__ import annotations

import json

import pytest

import operators
from operators import ALIASES, FEWEST, RESULTS, Run, distinct, run_tflite
from tflite_cases import CASES, Case


def test_an_alias_counts_once_and_a_case_that_does_not_pass_not_at_all() -> None:
    runs = [*(Run(name, "passed") for name in ("Add", "ADD", "ADD_N", "RSQRT")), Run("SVDF", "no case"),
            Run("Conv", "failed: 3 of 4 elements differ"), Run("CONV_2D", "refused: type int16")]
    assert distinct(runs) == {"Add": ["Add", "ADD"], "Sum": ["ADD_N"], "RSQRT": ["RSQRT"]}


def test_a_wrong_answer_and_a_file_of_another_operator_are_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tflite("MINIMUM").verdict == "passed"
    with monkeypatch.context() as patch:
        patch.setattr(operators.oracle, "tflite_micro", lambda blob, fed: [[a for a, _ in [s]] for s in fed])
        assert "differs" in run_tflite("MINIMUM").verdict
    monkeypatch.setitem(CASES, "MINIMUM", lambda: Case(CASES["MAXIMUM"]().blob))
    assert "the file has ['MAXIMUM']" in run_tflite("MINIMUM").verdict


def test_every_name_means_one_operation() -> None:
    names = [n for group in ALIASES.values() for n in group]
    assert len(names) == len(set(names)) and not set(names) & set(ALIASES)
    assert set(CASES) == set(operators.imported()[1])


def test_the_committed_count_follows_from_its_cases_and_keeps_the_promise() -> None:
    table = json.loads(RESULTS.read_text(encoding="utf-8"))
    passed = [Run(name, "passed", case) for name, case in table["passed"].items()]
    assert {k: sorted(v) for k, v in table["operations"].items()} == {k: sorted(v) for k, v in distinct(passed).items()}
    assert table["distinct"] == len(table["operations"]) >= FEWEST
    assert all(case for case in table["passed"].values()) and not set(table["passed"]) & set(table["not proven"])
    assert set(operators.imported()[1]) <= {*table["passed"], *table["not proven"]}
