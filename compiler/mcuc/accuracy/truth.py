"""What the data says about the right answers, and so by which metric a network is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mcuc.accuracy.known import Known
from mcuc.errors import McucError
from mcuc.ir import Array

Metric = Literal["top1", "auc", "error"]
METRICS: tuple[Metric, ...] = get_args(Metric)


@dataclass(frozen=True, eq=False)
class Truth:
    """The metric and what it needs, for each sample. y: top1: labels int64 [n]; auc: bool [n]; error: float64
    [n, values]. inputs: float [n, values] where the score is the error of a reconstruction of them, else None.
    index, group, digest: see Known."""

    metric: Metric
    y: Array
    index: Array
    digest: str
    group: Array | None = None
    inputs: Array | None = None

    def numbers(self, rows: Array) -> Array:
        """Of what is judged, for those samples: group numbers, each once, or sample numbers."""
        return self.index[rows] if self.group is None else np.unique(self.group[rows])

    def expected(self, rows: Array) -> Array:
        """y for each of those numbers."""
        return self.y[rows] if self.group is None else self.y[rows][np.unique(self.group[rows], return_index=True)[1]]


def truth_of(known: Known, outputs: Sequence[int], columns: Sequence[Array], metric: Metric | None) -> Truth | None:
    """How to judge a network whose first output has the shape `outputs` (batch first) on inputs [n, 1, ...]: by
    `metric`, or by the one that the data calls for:

    - labels and one value for each class: top1, the share of samples whose largest output is the label's;
    - labels 0 and 1 and one output, or outputs of the input's shape (a reconstruction, scored by its mean squared
      error): auc, the area under the ROC curve, 1 being what scores high;
    - targets, or other labels and one output: error, mean absolute and root mean squared.

    None where the data has no right answers and no metric was asked for. Raises McucError: bad-data where the answers
    do not fit the outputs; bad-metric where the metric asked for does not fit the data.
    """
    size = int(np.prod(outputs, dtype=np.int64))
    rebuilt = len(columns) == 1 and columns[0].shape[2:] == tuple(outputs[1:]) and size > 1
    binary = known.labels is not None and set(np.unique(known.labels).tolist()) <= {0, 1}
    chosen = metric or _called_for(known, size, rebuilt and binary)
    if chosen is None:
        return None
    if chosen == "top1":
        y = _classes(known, size)
    elif chosen == "auc":
        if not binary or known.labels is None:
            raise _unfit("auc", "needs a label, 0 or 1, for every sample", known)
        if not (rebuilt or size <= 2):
            raise _unfit("auc", f"needs one score, and the network has {size} outputs", known)
        y = known.labels == 1
    else:
        y = _targets(known, size, columns[0] if rebuilt else None)
    inputs = columns[0].reshape(len(columns[0]), -1) if chosen == "auc" and rebuilt else None
    if known.group is not None:
        _check_groups(known, y)
    return Truth(chosen, y, known.index, known.digest, known.group, inputs)


def _called_for(known: Known, size: int, anomaly: bool) -> Metric | None:
    if known.targets is not None:
        return "error"
    if known.labels is None or not len(known.labels):
        return None
    if anomaly:
        return "auc"
    if size > 1:
        return "top1"
    return "auc" if set(np.unique(known.labels).tolist()) <= {0, 1} else "error"


def _classes(known: Known, size: int) -> Array:
    if known.labels is None:
        raise _unfit("top1", "needs integer labels", known)
    if size < 2:
        raise _unfit("top1", "needs an output for each class, and the network has one", known)
    if int(known.labels.max(initial=0)) >= size:
        raise McucError(
            "bad-data",
            f"labels reach {known.labels.max()}, the network has {size} outputs",
            where=known.source,
            try_this=f"give labels from 0 to {size - 1}, or leave y out",
        )
    return known.labels


def _targets(known: Known, size: int, inputs: Array | None) -> Array:
    if known.targets is None and known.labels is None and inputs is None:
        raise _unfit("error", "needs targets, or a network that rebuilds its input", known)
    given = known.targets if known.targets is not None else known.labels if known.labels is not None else inputs
    assert given is not None
    flat = np.asarray(given, np.float64).reshape(len(given), -1)
    if flat.shape[1] != size:
        raise McucError(
            "bad-data",
            f"y has {flat.shape[1]} values for each sample, the network {size} outputs",
            where=known.source,
            try_this="give one target for each output, in its order, or integer labels for classes",
        )
    return flat


def _check_groups(known: Known, y: Array) -> None:
    assert known.group is not None
    _, first, inverse = np.unique(known.group, return_index=True, return_inverse=True)
    if not np.array_equal(y[first][inverse], y):
        raise McucError(
            "bad-data",
            "samples of one group have different y",
            where=known.source,
            try_this="give all samples of a group the same y, or leave group out",
        )


def _unfit(metric: str, found: str, known: Known) -> McucError:
    return McucError("bad-metric", f"--metric {metric} {found}", known.source, "leave --metric out, or give other data")
