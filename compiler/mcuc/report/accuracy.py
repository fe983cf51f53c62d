"""How accuracy is worded, the same in the terminal and in HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mcuc.report import words
from mcuc.report.types import Accuracy, Column

LABELS = {"top1": "accuracy", "auc": "AUC", "error": "mean error"}
EXPLAINED = {
    "top1": "Share of samples whose largest output is the label's. Intervals: 95 %, Agresti and Min 2005, for matched "
    "pairs.",
    "auc": "Area under the ROC curve; right and wrong at the float network's threshold. Intervals: 95 %, DeLong 1988, "
    "of the difference of two areas over the same samples.",
    "error": "Mean absolute error, and the root of the mean squared one (RMSE). Intervals: 95 %, Student's t over the "
    "paired differences.",
}
FLIPS_SHOWN = 20


class ColumnWords(NamedTuple):
    """A form of the network: what it reaches, and beside the float network on the same samples."""

    name: str
    runtime: str
    judged: str
    value: str
    beside: str
    differing: str


def label(metric: str) -> str:
    return LABELS.get(metric, words.clean(metric))


def figure(metric: str, value: float | None) -> str:
    """89.25 %; 0.8533; 0.01234; a dash where there is none."""
    if value is None:
        return "–"
    return words.percent(value) if metric == "top1" else f"{value:.4f}" if metric == "auc" else f"{value:.4g}"


def interval(metric: str, found: tuple[float, float] | None) -> str:
    """-0.48 to +0.28 points; -0.004 to +0.001"""
    if found is None:
        return "no interval"
    if metric == "top1":
        return f"{words.points(found)} points"
    return " to ".join(f"{end:+.4f}" if metric == "auc" else f"{end:+.3g}" for end in found)


def headline(a: Accuracy) -> list[str]:
    """The C on the host beside the float network, in parts."""
    parts = [f"int8 {figure(a.metric, a.int8)}"]
    if a.float is not None:
        parts.append(f"float {figure(a.metric, a.float)}")
    if a.negative_flips is not None:
        parts.append(f"{words.count(a.negative_flips)} right in float and wrong in int8")
    if a.gained is not None and (a.metric != "top1" or a.difference is not None):
        parts.append(f"{words.count(a.gained)} the other way round: {interval(a.metric, a.difference)}")
    elif a.metric == "error" and a.float is not None:
        parts.append(f"difference {interval(a.metric, a.difference)}")
    return parts


def columns(a: Accuracy) -> list[ColumnWords]:
    """A row for each form."""
    return [
        ColumnWords(
            words.clean(c.name),
            words.clean(c.runtime),
            _judged(c),
            _with_rms(a.metric, c.value, c.rmse),
            _beside(a.metric, c),
            _differing(c),
        )
        for c in a.columns
    ]


def flips(a: Accuracy, most: int = FLIPS_SHOWN) -> str:
    """The numbers of the negative flips in the data, the first ones of many; empty where there are none."""
    return listed(a.flips, most, "report.json")


def listed(numbers: Sequence[int], most: int, where: str) -> str:
    """The first `most` numbers, and where the others are."""
    more = f" and {words.count(len(numbers) - most)} more ({where})" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more


def _judged(c: Column) -> str:
    if c.judged in (0, c.samples):
        return words.plural(c.samples, "sample")
    return f"{words.plural(c.judged, 'group')} of {words.plural(c.samples, 'sample')}"


def _with_rms(metric: str, value: float | None, rmse: float | None) -> str:
    return figure(metric, value) + ("" if rmse is None else f" (RMSE {rmse:.4g})")


def _beside(metric: str, c: Column) -> str:
    if c.lost is None or c.gained is None:
        return ""
    lost, gained = words.count(c.lost), words.count(c.gained)
    counts = f"larger in {lost}, smaller in {gained}" if metric == "error" else f"{lost} lost, {gained} gained"
    rms = "" if c.rmse_difference is None else f"; RMSE {interval(metric, c.rmse_difference)}"
    return f"{counts}; {interval(metric, c.difference)}{rms}"


def _differing(c: Column) -> str:
    if c.differing is None:
        return ""
    return f"{words.count(c.differing)} of {words.count(c.elements)}" if c.differing else "none"
