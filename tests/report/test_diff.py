"""`mcuc report diff`: what changed between two builds, on the console, as JSON and as an exit code."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample
from rich.console import Console

from mcuc.accuracy.predictions import FILE, Predictions, to_bytes
from mcuc.api import diff
from mcuc.cli import main
from mcuc.errors import McucError
from mcuc.report.diff_text import to_text
from mcuc.report.json import to_json
from mcuc.report.types import Accuracy, Report

DATA = "0f" * 32
N = 60
Y = np.arange(N) % 4


def build(folder: Path, report: Report, kept: Predictions | None = None) -> Path:
    folder.mkdir()
    (folder / "report.json").write_text(to_json(report), encoding="utf-8")
    if kept is not None:
        (folder / FILE).write_bytes(to_bytes(kept))
    return folder


def judged(wrong: list[int], number: np.ndarray | None = None, digest: str = DATA) -> Predictions:
    """top-1 predictions, float all right, int8 wrong in those rows."""
    number = np.arange(N) if number is None else number
    y = number % 4
    classes = y.copy()
    classes[wrong] += 1
    return Predictions("top1", digest, number, y, {"float": y, "int8": classes})


def changed(**changes: Any) -> Report:
    return replace(sample.report(), **changes)


def console(found: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=False).print(to_text(found))
    return out.getvalue()


def test_samples_that_one_build_alone_has_right_are_named(tmp_path: Path) -> None:
    old = build(tmp_path / "old", changed(), judged([3, 5, 7]))
    new = build(tmp_path / "new", changed(), judged([5, 8, 9, 11, 12], np.arange(N) + 2))  # judged 2 ... 61
    found = diff(old, new / "report.json").accuracy
    assert found is not None and found.paired == 58
    # the new build has wrong, by number in the data: 7, 10, 11, 13, 14
    assert found.negative_flips == (10, 11, 13, 14) and found.positive_flips == (3, 5)
    assert (found.old, found.new) == (55 / 58, 53 / 58) and found.old_float == found.new_float == 1.0
    assert found.difference is not None and found.difference[0] < -2 / 58 < found.difference[1]
    text = console(diff(old, new))
    assert "right in old, wrong in new: 4: samples 10, 11, 13, 14" in text and "58 samples that both builds" in text


def test_settings_figures_and_layers_that_changed_are_listed(tmp_path: Path) -> None:
    r = sample.report()
    layers = (replace(r.layers[0], kernel="dot/other", cycles=r.layers[0].cycles + 7, why="x"),
              replace(r.layers[1], why="only this differs"), *r.layers[2:-1], replace(r.layers[-1], name="last"))
    asked = {"tune": "full", "seed": "0"}
    new = changed(layers=layers, board="other", cycles=r.cycles + 7, options=asked,
                  sram=replace(r.sram, arena=r.sram.arena - 8, total=r.sram.total - 8))
    found = diff(build(tmp_path / "a", changed(options={"tune": "off", "seed": "0"})), build(tmp_path / "b", new))
    assert {(c.name, c.old, c.new) for c in found.settings} == {("board", r.board, "other"), ("tune", "off", "full")}
    figures = {f.name: f.new - f.old for f in found.figures}
    assert {k: v for k, v in figures.items() if v} == {"SRAM total": -8, "SRAM arena": -8, "cycles": 7}
    changes = {c.name: (c.old and c.old.kernel, c.new and c.new.kernel) for c in found.layers}
    assert changes == {"conv_1": ("dot/smlad_2x2", "dot/other"), "softmax": ("softmax/table", None),
                       "last": (None, "softmax/table")}
    text = console(found)
    assert "dot/smlad_2x2 -> dot/other" in text and "+7" in text and "the boards differ" in text


def test_a_build_beside_itself_differs_in_nothing(tmp_path: Path) -> None:
    old = build(tmp_path / "old", changed(accuracy=None))
    found = diff(old, old)
    assert (found.settings, found.layers, found.accuracy, found.notes, found.regressions) == ((), (), None, (), ())
    assert "the same kernels" in console(found)


@pytest.mark.parametrize(("change", "said"), [
    ({"sram": replace(sample.report().sram, total=10**6)}, "SRAM total grew"),
    ({"flash": replace(sample.report().flash, total=10**6)}, "flash total grew"),
    ({"cycles": 10**9}, "cycles grew"),
    ({"verify": replace(sample.report().verify, bit_exact=False, differing=3)}, "not any more"),
    ({"verify": replace(sample.report().verify, audit=2)}, "the audit has 2 findings"),
    ({}, "accuracy (top1) fell"),
])
def test_what_got_worse_fails_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    old = build(tmp_path / "old", changed(), judged([1]))
    new = build(tmp_path / "new", changed(**change), judged([1] if change else list(range(20))))
    words = ["report", "diff", str(old), str(new)]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert said in shown.out and not shown.err
    assert main([*words, "--fail-on-regression", "--json"]) == 1
    shown = capsys.readouterr()
    assert said in shown.err and said in " ".join(json.loads(shown.out)["regressions"])
    assert main(["report", "diff", str(new), str(new), "--fail-on-regression"]) == 0
    if not change:
        assert main([*words, "--fail-on-regression", "--without-accuracy"]) == 0


def test_a_difference_that_chance_explains_is_no_regression(tmp_path: Path) -> None:
    old = build(tmp_path / "old", changed(), judged([1, 2, 3]))
    new = build(tmp_path / "new", changed(), judged([1, 2, 4, 5]))
    found = diff(old, new)
    assert found.accuracy is not None and found.accuracy.negative_flips == (4, 5) and not found.regressions


def test_errors_and_areas_are_compared_in_pairs_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    errors = rng.random((N, 2)) + 0.1
    accuracy = Accuracy(0.5, 0.5, None, N, None, None, "error", data=DATA)
    folders = [
        build(tmp_path / name, changed(accuracy=accuracy),
              Predictions("error", DATA, np.arange(N), np.zeros(0), {"float": errors, "int8": errors * more}))
        for name, more in (("a", 1.0), ("b", 1.5))
    ]
    found = diff(*folders)
    assert found.regressions == ("the error grew",) and found.accuracy is not None
    assert len(found.accuracy.negative_flips) == N and found.accuracy.rmse_difference is not None
    assert "error larger: 60" in console(found) and "RMSE" in console(found)
    scores = rng.normal(size=N) + (Y > 1)
    accuracy = replace(accuracy, metric="auc")
    folders = [
        build(tmp_path / name, changed(accuracy=accuracy),
              Predictions("auc", DATA, np.arange(N), Y > 1, {"float": s, "int8": s}, threshold))
        for name, s, threshold in (("c", scores, 0.0), ("d", scores * 8 - 40, -40.0))
    ]
    found = diff(*folders)
    assert found.accuracy is not None and found.accuracy.old == found.accuracy.new
    assert found.accuracy.negative_flips == found.accuracy.positive_flips == () and found.accuracy.difference is None


@pytest.mark.parametrize(("change", "kept", "code", "said"), [
    ({"data": "ab" * 32}, None, "different-data", "--without-accuracy"),
    ({"metric": "auc"}, None, "different-metric", "--without-accuracy"),
    ({}, judged([], digest="ab" * 32), "bad-predictions", "as it wrote it"),
    ({}, replace(judged([]), y=Y + 1), "bad-predictions", "build both again"),
])
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, change: dict[str, Any], kept: Predictions | None, code: str, said: str
) -> None:
    accuracy = sample.report().accuracy
    assert accuracy is not None
    old = build(tmp_path / "old", changed(), judged([]))
    new = build(tmp_path / "new", changed(accuracy=replace(accuracy, **change)), kept)
    with pytest.raises(McucError) as caught:
        diff(old, new)
    assert caught.value.code == code and said in caught.value.try_this and "new" in caught.value.where
    assert diff(old, new, accuracy=False).accuracy is None


@pytest.mark.parametrize(("new", "kept", "note"), [
    (changed(accuracy=None), None, "was not judged"),
    (changed(), None, "not in pairs"),
    (changed(), judged([], np.arange(N) + 1000), "no sample was judged by both"),
])
def test_what_is_missing_is_said(tmp_path: Path, new: Report, kept: Predictions | None, note: str) -> None:
    found = diff(build(tmp_path / "old", changed(), judged([])), build(tmp_path / "new", new, kept))
    assert note in " ".join(found.notes) and note in console(found)
    assert found.accuracy is None or (found.accuracy.paired, found.accuracy.difference) == (0, None)


def test_places_without_a_report_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = build(tmp_path / "good", changed())
    (tmp_path / "bad.json").write_text("[]", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for place, said in (("nowhere", "there is no file or folder"), ("empty", "no report.json in this folder"),
                        ("bad.json", "not a valid mcuc report")):
        assert main(["report", "diff", str(good), str(tmp_path / place)]) == 1
        shown = capsys.readouterr()
        assert said in shown.err and place in shown.err and "try:" in shown.err and not shown.out
    assert main(["report", "diff", str(good)]) == 2


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    layer = replace(sample.report().layers[0], name=sample.HOSTILE, kernel=sample.HOSTILE)
    found = diff(build(tmp_path / "a", changed()), build(tmp_path / "b", changed(
        board=sample.HOSTILE, layers=(layer,), options={sample.HOSTILE: sample.HOSTILE})))
    text = console(found)
    assert "[bold]" in text and "\x1b" not in text and "\u202e" not in text
