"""What networks answer, sample by sample, compared in pairs and kept in predictions.npz."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from mcuc.accuracy import statistics
from mcuc.accuracy.statistics import Interval
from mcuc.accuracy.truth import METRICS, Metric, Truth
from mcuc.data.npz import npz_bytes, read_arrays
from mcuc.errors import McucError
from mcuc.ir import Array
from mcuc.report.paired import paired

FILE = "predictions.npz"
FORMAT = 1
MAX_BYTES = 1 << 28


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers to the same questions. number: int64 [n], of the samples or groups in the data with that digest; y: as
    Truth has it, empty for error. columns: for each network top1: the class, int64 [n]; auc: the score, float64 [n];
    error: mean absolute and mean squared error, float64 [n, 2]. threshold: of auc, what scores above it is called
    positive."""

    metric: Metric
    digest: str
    number: Array
    y: Array
    columns: Mapping[str, Array]
    threshold: float | None = None


@dataclass(frozen=True)
class Comparison:
    """first, second: the metric of both (error: mean absolute error), None where it is undefined; difference: 95 %
    interval of second - first, None where there is none. lost, gained: numbers of what only the first, or only the
    second, has right (error: where the second's error is larger, or smaller). rms: root mean squared errors and the
    interval of their difference, of error alone."""

    first: float | None
    second: float | None
    difference: Interval | None
    lost: tuple[int, ...]
    gained: tuple[int, ...]
    rms: tuple[float, float, Interval | None] | None = None


def answers(truth: Truth, rows: Array, outputs: Array) -> Array:
    """A column of Predictions from real outputs [rows, values]; samples of a group by the mean of what is scored."""
    real = np.asarray(outputs, np.float64)
    if truth.metric == "auc":
        if truth.inputs is not None:
            real = ((truth.inputs[rows].astype(np.float64) - real) ** 2).mean(1, keepdims=True)
        elif real.shape[1] == 2:
            real = real[:, 1:] - real[:, :1]
    if truth.group is not None:
        _, inverse, counts = np.unique(truth.group[rows], return_inverse=True, return_counts=True)
        sums = np.zeros((len(counts), real.shape[1]))
        np.add.at(sums, inverse, real)
        real = sums / counts[:, None]
    if truth.metric == "top1":
        return np.asarray(real.argmax(1), np.int64)
    if truth.metric == "auc":
        return real[:, 0]
    gaps = real - truth.expected(rows)
    return np.stack([np.abs(gaps).mean(1), (gaps**2).mean(1)], 1)


def compare(
    metric: Metric, number: Array, y: Array, first: Array, second: Array, thresholds: tuple[float | None, float | None]
) -> Comparison:
    """Two columns over the same numbers. thresholds: of auc, each column's own."""
    if metric == "error":
        grew, shrank = second[:, 0] > first[:, 0], second[:, 0] < first[:, 0]
        a, b = float(first[:, 0].mean()), float(second[:, 0].mean())
        interval = statistics.mean_difference(second[:, 0] - first[:, 0])
        roots = sqrt(float(first[:, 1].mean())), sqrt(float(second[:, 1].mean()))
        rms = (*roots, statistics.rms_difference(first[:, 1], second[:, 1]))
        return Comparison(a, b, interval, _numbers(number, grew), _numbers(number, shrank), rms)
    if metric == "top1":
        right = first == y, second == y
        found = paired(*right)
        values: tuple[float | None, float | None] = found.first, found.second
        difference: Interval | None = (found.low, found.high)
    else:
        right = _called(first, y, thresholds[0]), _called(second, y, thresholds[1])
        values = statistics.auc(first, y), statistics.auc(second, y)
        difference = statistics.auc_difference(first, second, y)
    lost, gained = right[0] & ~right[1], ~right[0] & right[1]
    return Comparison(*values, difference, _numbers(number, lost), _numbers(number, gained))


def _called(scores: Array, y: Array, threshold: float | None) -> Array:
    return np.zeros(len(y), np.bool_) if threshold is None else np.asarray((scores > threshold) == y)


def _numbers(number: Array, chosen: Array) -> tuple[int, ...]:
    return tuple(int(n) for n in number[chosen])


def to_bytes(found: Predictions) -> bytes:
    """predictions.npz: the same predictions give the same bytes."""
    about = {"format": FORMAT, "metric": found.metric, "data": found.digest, "threshold": found.threshold}
    arrays = {
        "about": np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8),
        "number": found.number,
        "y": found.y,
        **{f"answer_{name}": column for name, column in found.columns.items()},
    }
    return npz_bytes(arrays, zipfile.ZIP_DEFLATED)


def from_file(path: Path) -> Predictions:
    """What to_bytes wrote. Raises McucError for any other file: bad-npz, bad-predictions."""
    arrays = read_arrays(path, MAX_BYTES)
    try:
        about = json.loads(arrays["about"].tobytes())
        metric, digest, threshold = about["metric"], about["data"], about["threshold"]
        number, y = arrays["number"], arrays["y"]
        columns = {k.removeprefix("answer_"): v for k, v in arrays.items() if k.startswith("answer_")}
        kinds = {"top1": "i", "auc": "b", "error": "f"}
        sound = (
            about["format"] == FORMAT
            and metric in METRICS
            and isinstance(digest, str)
            and (threshold is None or isinstance(threshold, float | int))
            and number.dtype.kind == "i"
            and number.ndim == 1
            and len(number) > 0
            and len(np.unique(number)) == len(number)
            and y.dtype.kind == kinds[metric]
            and (y.shape == (0,) if metric == "error" else y.shape == number.shape)
            and {"float", "int8"} <= set(columns)
            and all(_column_fits(metric, c, len(number)) for c in columns.values())
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        sound = False
    if not sound:
        advice = "build again; the file is written beside report.json"
        raise McucError("bad-predictions", "these are not predictions that mcuc wrote", str(path), advice)
    return Predictions(metric, digest, number, y, columns, None if threshold is None else float(threshold))


def _column_fits(metric: Metric, column: Array, count: int) -> bool:
    if metric == "top1":
        return column.dtype.kind == "i" and column.shape == (count,)
    shape = (count, 2) if metric == "error" else (count,)
    return column.dtype.kind == "f" and column.shape == shape and bool(np.isfinite(column).all())
