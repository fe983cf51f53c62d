"""predictions.npz comes back as it was and is refused where it is not one; answers are scored as the metric says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcuc.accuracy.predictions import Predictions, answers, compare, from_file, to_bytes
from mcuc.accuracy.truth import METRICS, Metric, Truth
from mcuc.data.npz import write_npz
from mcuc.errors import McucError

N = 9
NUMBER = np.arange(N) * 3


def predictions(metric: Metric) -> Predictions:
    rng = np.random.default_rng(1)
    y, column = {
        "top1": (np.arange(N) % 4, np.arange(N) % 3),
        "auc": (np.arange(N) % 2 == 1, rng.normal(size=N)),
        "error": (np.zeros(0), rng.random((N, 2))),
    }[metric]
    return Predictions(metric, "ab" * 32, NUMBER, y, {"float": column, "int8": column[::-1]}, -0.25)


@pytest.mark.parametrize("metric", METRICS)
def test_predictions_come_back(tmp_path: Path, metric: Metric) -> None:
    given = predictions(metric)
    blob = to_bytes(given)
    (tmp_path / "p.npz").write_bytes(blob)
    found = from_file(tmp_path / "p.npz")
    assert (found.metric, found.digest, found.threshold) == (metric, given.digest, -0.25)
    assert np.array_equal(found.number, NUMBER) and np.array_equal(found.y, given.y)
    assert set(found.columns) == {"float", "int8"}
    assert all(np.array_equal(found.columns[k], given.columns[k]) for k in given.columns)
    assert blob == to_bytes(found)


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "psnr"},
        {"digest": 4},
        {"threshold": "low"},
        {"number": np.zeros(N, np.int64)},
        {"number": np.zeros(0, np.int64)},
        {"y": np.zeros(N)},
        {"y": np.zeros(N - 1, np.int64)},
        {"columns": {"float": np.zeros(N, np.int64)}},
        {"columns": {"float": np.zeros(N), "int8": np.zeros(N)}},
        {"columns": {"float": np.zeros(N, np.int64), "int8": np.zeros((N, 2), np.int64)}},
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "p.npz").write_bytes(to_bytes(replace(predictions("top1"), **change)))  # type: ignore[arg-type]
    with pytest.raises(McucError) as caught:
        from_file(tmp_path / "p.npz")
    assert caught.value.code == "bad-predictions" and "build again" in caught.value.try_this


def test_files_that_are_no_predictions_are_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", {"x": np.zeros(3), "about": np.frombuffer(b"[1", np.uint8)})
    (tmp_path / "y.npz").write_bytes(b"PK")
    for name, code in (("x.npz", "bad-predictions"), ("y.npz", "bad-npz")):
        with pytest.raises(McucError) as caught:
            from_file(tmp_path / name)
        assert caught.value.code == code


def test_answers_are_classes_scores_and_errors() -> None:
    rows, index = np.arange(4), np.arange(4)
    outputs = np.array([[0.1, 0.9], [0.7, 0.3], [0.5, 0.5], [0.2, 0.8]])
    y, group = np.array([1, 1, 0, 0]), np.array([5, 5, 2, 2])
    top = Truth("top1", y, index, "")
    assert answers(top, rows, outputs).tolist() == [1, 0, 0, 1]
    assert answers(replace(top, group=group), rows, outputs).tolist() == [1, 1]  # of group 2, then 5: means
    score = Truth("auc", y == 1, index, "")
    assert answers(score, rows, outputs) == pytest.approx([0.8, -0.4, 0, 0.6])  # two outputs: their difference
    rebuilt = replace(score, inputs=np.zeros((4, 2)), group=group)
    assert answers(rebuilt, rows, outputs) == pytest.approx([(0.25 + 0.34) / 2, (0.41 + 0.29) / 2])
    error = Truth("error", np.array([[0.0, 1.0]] * 4), index, "")
    assert answers(error, rows[:1], outputs[:1]) == pytest.approx(np.array([[0.1, 0.01]]))


def test_flips_are_named_by_their_number() -> None:
    y = np.array([0, 1, 2, 0])
    number = np.array([10, 20, 30, 40])
    found = compare("top1", number, y, np.array([0, 1, 0, 1]), np.array([1, 1, 2, 1]), (None, None))
    assert (found.lost, found.gained, found.first, found.second) == ((10,), (30,), 0.5, 0.5)
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    found = compare("auc", number, y > 0, scores, scores + 5, (0.5, 5.5))  # each at its own threshold
    assert (found.lost, found.gained, found.first) == ((), (), 0.5)
    found = compare("auc", number, y > 0, scores, scores + 5, (0.5, 0.5))
    assert found.lost == (10,) and found.gained == ()
    errors = np.array([[1.0, 1.0]] * 4)
    found = compare("error", number, np.zeros(0), errors, errors * [[2], [1], [0.5], [1]], (None, None))
    assert found.rms is not None and found.rms[:2] == (1.0, 1.125**0.5)
    assert (found.lost, found.gained, found.second) == ((10,), (30,), 1.125)
