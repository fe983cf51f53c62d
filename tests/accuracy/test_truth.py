"""The metric is the one that the data calls for; data that does not fit is refused with what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mcuc.accuracy.known import known_of
from mcuc.accuracy.truth import truth_of
from mcuc.errors import McucError
from mcuc.ir import Array

N = 12
X = np.zeros((N, 1, 6), np.float32)
BITS = np.arange(N) % 2
TEN = np.arange(N) % 10


def truth(y: Array | None, outputs: int, metric: Any = None, group: Array | None = None) -> Any:
    return truth_of(known_of({"x": X}, y, group, "data"), (1, outputs), (X,), metric)


@pytest.mark.parametrize(
    ("y", "outputs", "wanted"),
    [
        (TEN, 10, "top1"),
        (BITS, 2, "top1"),
        (BITS.astype(np.bool_), 2, "top1"),
        (TEN[:, None].astype(np.uint8), 10, "top1"),
        (np.eye(10, dtype=np.float32)[TEN], 10, "top1"),
        (BITS, 1, "auc"),
        (BITS, 6, "auc"),
        (TEN, 1, "error"),
        (BITS.astype(np.float32), 1, "error"),
        (np.ones((N, 3, 2), np.float32), 6, "error"),
    ],
)
def test_the_data_says_the_metric(y: Array, outputs: int, wanted: str) -> None:
    found = truth(y, outputs)
    assert found.metric == wanted
    assert (found.inputs is not None) == (wanted == "auc" and outputs == 6)


@pytest.mark.parametrize(("y", "outputs", "metric"), [(BITS, 2, "auc"), (BITS, 6, "top1"), (BITS, 1, "error")])
def test_another_metric_can_be_asked_for(y: Array, outputs: int, metric: str) -> None:
    assert truth(y, outputs, metric).metric == metric


def test_a_reconstruction_without_answers_is_compared_with_its_input() -> None:
    assert truth(None, 6) is None
    assert np.array_equal(truth(None, 6, "error").y, X[:, 0])


@pytest.mark.parametrize(
    ("y", "outputs", "metric", "code", "said"),
    [
        (TEN, 9, None, "bad-data", "labels reach 9, the network has 9 outputs"),
        (TEN - 1, 10, None, "bad-data", "labels reach down to -1"),
        (TEN[:5], 10, None, "bad-data", "for 12 samples"),
        (np.full(N, np.nan), 1, None, "bad-data", "not finite"),
        (np.array(["a"] * N), 1, None, "bad-data", "y is"),
        (np.ones((N, 2)), 3, None, "bad-data", "y has 2 values for each sample, the network 3 outputs"),
        (TEN, 10, "auc", "bad-metric", "a label, 0 or 1"),
        (BITS, 5, "auc", "bad-metric", "needs one score, and the network has 5 outputs"),
        (None, 10, "top1", "bad-metric", "needs integer labels"),
        (BITS, 1, "top1", "bad-metric", "an output for each class"),
        (None, 3, "error", "bad-metric", "needs targets"),
    ],
)
def test_what_does_not_fit_is_refused(y: Any, outputs: int, metric: Any, code: str, said: str) -> None:
    with pytest.raises(McucError) as caught:
        truth(y, outputs, metric)
    assert caught.value.code == code and said in caught.value.found and caught.value.try_this


def test_groups_have_one_answer() -> None:
    rows = np.array([4, 0, 3])
    found = truth(BITS.repeat(2)[:N], 1, group=np.arange(N) // 2 * 10)
    assert found.numbers(rows).tolist() == [0, 10, 20] and found.expected(rows).tolist() == [False, True, False]
    with pytest.raises(McucError, match="different y"):
        truth(BITS, 1, group=np.arange(N) // 2)
    with pytest.raises(McucError, match="group is"):
        truth(BITS, 1, group=np.zeros(3, np.int64))


def test_the_digest_is_of_samples_and_answers() -> None:
    x = np.arange(12.0).reshape(4, 3)
    known = [
        known_of({"x": a}, y, g, "data").digest
        for a, y, g in ((x, None, None), (x + 0, None, None), (x + 1, None, None), (x, x, None), (x, None, BITS[:4]))
    ]
    assert known[0] == known[1] and len(set(known)) == 4
