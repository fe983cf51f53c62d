"""Two builds side by side: what was asked for, sizes, time, kernels, and accuracy in pairs of the same samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mcuc.accuracy import predictions
from mcuc.accuracy.predictions import Predictions, compare
from mcuc.emit.deliver import os_errors
from mcuc.errors import McucError
from mcuc.report.json import from_json
from mcuc.report.types import Accuracy, LayerReport, Report

MAX_REPORT_BYTES = 1 << 28


@dataclass(frozen=True)
class Change:
    """A setting that differs; None where a build does not say it."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Figure:
    """unit: bytes, ms, or "" for counts."""

    name: str
    unit: str
    old: float
    new: float


@dataclass(frozen=True)
class LayerChange:
    """A layer whose kernel, counts or live memory differ; None where a build has no such layer."""

    name: str
    op: str
    old: LayerReport | None
    new: LayerReport | None

    @property
    def cycles(self) -> int:
        """How many more the new one takes."""
        return (self.new.cycles if self.new else 0) - (self.old.cycles if self.old else 0)


@dataclass(frozen=True)
class AccuracyChange:
    """The C of both builds. metric, old, new: as in Accuracy; over `paired` samples (or groups) that both judged, else
    0 and each over its own: then there is no interval and there are no flips.

    difference: 95 % interval of new - old. negative_flips: numbers, in the data, of what the old build has right and
    the new one wrong (auc: each at its own threshold; error: where the new build's error is larger); positive_flips:
    the other way round. old_float, new_float: of the float networks. old_rmse, new_rmse, rmse_difference: of error.
    """

    metric: str
    paired: int
    old: float | None
    new: float | None
    old_float: float | None
    new_float: float | None
    difference: tuple[float, float] | None = None
    negative_flips: tuple[int, ...] = ()
    positive_flips: tuple[int, ...] = ()
    old_rmse: float | None = None
    new_rmse: float | None = None
    rmse_difference: tuple[float, float] | None = None


@dataclass(frozen=True)
class Diff:
    """settings, layers: those that differ; figures: all; accuracy: None where a build was not judged; regressions: what
    got worse, in words: more SRAM, flash or cycles, answers that no longer agree, findings of the audit, an accuracy
    whose interval excludes "no worse"."""

    old: str
    new: str
    settings: tuple[Change, ...]
    figures: tuple[Figure, ...]
    layers: tuple[LayerChange, ...]
    accuracy: AccuracyChange | None
    notes: tuple[str, ...]
    regressions: tuple[str, ...]


def compared(old: Path, new: Path, accuracy: bool = True) -> Diff:
    """Two builds, each a folder that mcuc wrote or the report.json in one.

    Raises McucError: no-such-report, bad-report, bad-npz, bad-predictions; different-data and different-metric where
    accuracies cannot be compared, unless that is not wanted.
    """
    (a, a_folder), (b, b_folder) = _read(old), _read(new)
    notes: list[str] = []
    if a.board != b.board:
        notes.append("the boards differ: so do the cycles of the same code")
    elif a.cycles_band != b.cycles_band:
        notes.append("the cycle estimates have different bands")
    change = _accuracy((a, a_folder, old), (b, b_folder, new), notes) if accuracy else None
    found = Diff(str(old), str(new), _settings(a, b), _figures(a, b), _layers(a, b), change, tuple(notes), ())
    return replace(found, regressions=_regressions(found, a, b))


def _read(path: Path) -> tuple[Report, Path]:
    """A report and the folder that it is in."""
    file = path / "report.json" if path.is_dir() else path
    if not file.is_file():
        raise McucError(
            "no-such-report",
            "there is no report.json in this folder" if path.is_dir() else f"there is no file or folder {str(path)!r}",
            where=str(path),
            try_this="name the folder that mcuc compile or mcuc build wrote, or a report.json",
        )
    with os_errors(file, "read"):
        size = file.stat().st_size
        if size > MAX_REPORT_BYTES:
            raise McucError("bad-report", f"{size:,} bytes are no report", str(file), "name a report.json of mcuc's")
        text = file.read_bytes().decode("utf-8", "replace")
    try:
        return from_json(text), file.parent
    except McucError as error:
        raise replace(error, where=f"{file}: {error.where}") from None


def _settings(a: Report, b: Report) -> tuple[Change, ...]:
    old, new = _asked(a), _asked(b)
    names = [*old, *(name for name in new if name not in old)]
    return tuple(Change(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n))


def _asked(r: Report) -> Mapping[str, str]:
    names = ("model", "board", "core", "toolchain", "profile", "optimize")
    own = {n: str(getattr(r, n)) for n in names} | {"clock_hz": str(r.clock_hz)}
    streams = [s.name for s in r.segments if s.kind == "stream"]
    answers = "bit-exact" if r.verify.bit_exact else f"{r.verify.differing} elements differ"
    return own | dict(r.options) | {"streams": ", ".join(streams) or "none", "answers": answers}


def _figures(a: Report, b: Report) -> tuple[Figure, ...]:
    def row(name: str, unit: str, old: float, new: float) -> Figure:
        return Figure(name, unit, old, new)

    parts = ("total", "arena", "work", "static", "stack", "state")
    return (
        *(row(f"SRAM {p}", "bytes", getattr(a.sram, p), getattr(b.sram, p)) for p in parts),
        *(row(f"flash {p}", "bytes", getattr(a.flash, p), getattr(b.flash, p)) for p in ("total", "weights", "code")),
        row("MACs", "", a.macs, b.macs),
        row("instructions", "", a.instructions, b.instructions),
        row("cycles", "", a.cycles, b.cycles),
        row("latency", "ms", a.latency_ms, b.latency_ms),
    )


def _layers(a: Report, b: Report) -> tuple[LayerChange, ...]:
    """Layers are the same where name, operator and the number of such layers before them are."""
    old, new = _named(a), _named(b)
    keys = [*old, *(key for key in new if key not in old)]
    found = [LayerChange(key[0], key[1], old.get(key), new.get(key)) for key in keys]
    return tuple(c for c in found if c.old is None or c.new is None or replace(c.old, why="") != replace(c.new, why=""))


def _named(r: Report) -> dict[tuple[str, str, int], LayerReport]:
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for layer in r.layers:
        key = layer.name, layer.op
        found[(*key, seen[key])] = layer
        seen[key] += 1
    return found


Side = tuple[Report, Path, Path]  # the report, its folder, the path that was given


def _accuracy(old: Side, new: Side, notes: list[str]) -> AccuracyChange | None:
    a, b = old[0].accuracy, new[0].accuracy
    if a is None or b is None:
        if a is not b:
            notes.append(f"{old[2] if a is None else new[2]} was not judged, so accuracies are not compared")
        return None
    _check_comparable(a, b, old[2], new[2])
    totals = AccuracyChange(a.metric, 0, a.int8, b.int8, a.float, b.float)
    kept = [_predictions(side) for side in (old, new)]
    missing = [side[1] / predictions.FILE for side, found in zip((old, new), kept, strict=True) if found is None]
    if kept[0] is None or kept[1] is None:
        notes.append(f"no {missing[0]}: accuracies stand side by side, not in pairs")
        return totals
    return _paired(kept[0], kept[1], totals, new[2], notes)


def _check_comparable(a: Accuracy, b: Accuracy, old: Path, new: Path) -> None:
    advice = "build both with the same --data and --metric, or leave accuracy out with --without-accuracy"
    if a.metric != b.metric:
        found = f"one build was judged by {a.metric}, the other by {b.metric}"
        raise McucError("different-metric", found, f"{old} and {new}", advice)
    if a.data != b.data:
        found = f"the builds were judged on different data (SHA-256 {a.data[:12] or '?'} and {b.data[:12] or '?'})"
        raise McucError("different-data", found, f"{old} and {new}", advice)


def _predictions(side: Side) -> Predictions | None:
    """A build's predictions; None where they are not beside its report. Raises McucError where they are another's."""
    report, folder, _ = side
    file = folder / predictions.FILE
    if not file.is_file():
        return None
    found = predictions.from_file(file)
    assert report.accuracy is not None
    if (found.metric, found.digest) != (report.accuracy.metric, report.accuracy.data):
        advice = "name the folder that mcuc build wrote, as it wrote it"
        raise McucError("bad-predictions", "these predictions are not of the report beside them", str(file), advice)
    return found


def _paired(a: Predictions, b: Predictions, totals: AccuracyChange, where: Path, notes: list[str]) -> AccuracyChange:
    common, i, j = np.intersect1d(a.number, b.number, assume_unique=True, return_indices=True)
    if not len(common):
        notes.append("no sample was judged by both builds: accuracies stand side by side, not in pairs")
        return totals
    y = a.y if a.metric == "error" else a.y[i]
    if a.metric != "error" and not np.array_equal(y, b.y[j]):
        advice = "build both again"
        raise McucError("bad-predictions", "the same samples have other labels in both builds", str(where), advice)
    left = len(a.number) + len(b.number) - 2 * len(common)
    if left:
        notes.append(f"accuracy is over the {len(common):,} samples that both builds judged; {left:,} are left out")
    thresholds = a.threshold, b.threshold
    found = compare(a.metric, common, y, a.columns["int8"][i], b.columns["int8"][j], thresholds)
    reference = compare(a.metric, common, y, a.columns["float"][i], b.columns["float"][j], thresholds)
    rms = found.rms or (None, None, None)
    ends = found.first, found.second, reference.first, reference.second
    flips = found.lost, found.gained
    return AccuracyChange(a.metric, len(common), *ends, found.difference, *flips, *rms)


def _regressions(found: Diff, a: Report, b: Report) -> tuple[str, ...]:
    figures = {f.name: f for f in found.figures}
    worse = [
        f"{name} grew from {figures[name].old:,.0f} to {figures[name].new:,.0f}"
        for name in ("SRAM total", "flash total", "cycles")
        if figures[name].new > figures[name].old
    ]
    if a.verify.bit_exact and not b.verify.bit_exact:
        worse.append("the answers were those of the oracle, and are not any more")
    if (b.verify.audit or 0) > (a.verify.audit or 0):
        worse.append(f"the audit has {b.verify.audit} findings")
    change = found.accuracy
    if change is not None and change.difference is not None:
        low, high = change.difference
        if low > 0 if change.metric == "error" else high < 0:
            worse.append(f"accuracy ({change.metric}) fell" if change.metric != "error" else "the error grew")
    return tuple(worse)
