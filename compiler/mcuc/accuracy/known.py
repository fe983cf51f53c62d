"""What a data set says of its judged samples, read from the arrays of an .npz: labels or targets, groups, a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array


@dataclass(frozen=True, eq=False)
class Known:
    """labels: int64 [n]; targets: float64 [n, ...]; at most one of them. group: int64 [n], samples of one number are
    judged together; index: each sample's number in the data; digest: SHA-256 of the data that they come from; source:
    for messages."""

    labels: Array | None
    targets: Array | None
    group: Array | None
    index: Array
    digest: str
    source: str

    def of(self, rows: Array) -> Known:
        """Of those samples alone."""
        labels, targets, group = (None if a is None else a[rows] for a in (self.labels, self.targets, self.group))
        return Known(labels, targets, group, self.index[rows], self.digest, self.source)


def known_of(x: Mapping[str, Array], y: Array | None, group: Array | None, where: str) -> Known:
    """x: the arrays of samples [n, ...], as they are in the file. y: integers [n] or rows with a single 1 are labels,
    other numbers targets. Raises McucError("bad-data")."""
    count = len(next(iter(x.values())))
    answers = {k: a for k, a in (("y", y), ("group", group)) if a is not None}
    index, digest = np.arange(count), digest_of({**x, **answers})
    labels, targets = (None, None) if y is None else _answers(y, count, where)
    if group is not None:
        if group.dtype.kind not in "iu" or group.shape != (count,):
            raise _bad(f"group is {group.dtype}{group.shape} for {count} samples", where, "give an integer for each")
        group = group.astype(np.int64)
    return Known(labels, targets, group, index, digest, where)


def _answers(y: Array, count: int, where: str) -> tuple[Array | None, Array | None]:
    advice = (
        "give one integer label, 0 or more, for each sample, its targets as floats in the order of the outputs, or "
        "leave y out"
    )
    if y.dtype.kind not in "biuf" or y.ndim == 0 or len(y) != count or not y.size:
        raise _bad(f"y is {y.dtype}{y.shape} for {count} samples", where, advice)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise _bad("y has values that are not finite", where, advice)
    flat = y.reshape(count, -1)
    if flat.shape[1] > 1 and ((flat == 0).sum(1) == flat.shape[1] - 1).all() and (flat.max(1) == 1).all():
        return flat.argmax(1).astype(np.int64), None
    if flat.shape[1] > 1 or y.dtype.kind == "f":
        return None, y.astype(np.float64)
    if y.dtype.kind != "b" and flat.min() < 0:
        raise _bad(f"labels reach down to {flat.min()}", where, advice)
    return flat[:, 0].astype(np.int64), None


def digest_of(arrays: Mapping[str, Array]) -> str:
    """SHA-256 of the arrays, their names, types and shapes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.data.cast("B") if array.size else b"")
    return found.hexdigest()


def _bad(found: str, where: str, try_this: str) -> McucError:
    return McucError("bad-data", found, where=where, try_this=try_this)
