"""How figures are worded, the same in the terminal and in HTML: sizes, evidence classes, bands, the verdict."""

from __future__ import annotations

import unicodedata
from typing import Literal, NamedTuple

from mcuc.report.types import Report, SegmentReport, Verify, Weights

KB = 1024
KB_RULE = "1 KB = 1024 bytes"
NOT_GUARANTEED = ("Not included in any figure: stack of interrupt handlers, time spent in them, "
                  "and a worst-case bound on time.")

EVIDENCE = {
    "measured on silicon": "read from a counter on a real chip",
    "emulated": "counted exactly on an emulated core running the linked image",
    "estimated": "from a published model of the core; the true value is expected within the band",
    "linked": "read from the linked ELF",
    "planned": "fixed by the memory plan, which the generated code follows byte for byte",
    "published elsewhere": "taken from the named publication",
}
UNSTATED = "evidence not stated"

# Entries of the mix that say more about instructions which another entry already counts.
MIX_DETAILS = ("branch_cond_taken", "branch_cond_not_taken", "load_multi_regs", "store_multi_regs")

LONGEST_TEXT = 1000
# Formatting characters reorder or hide text (bidirectional overrides); control characters steer terminals.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def clean(text: str, longest: int = 160) -> str:
    """A text that may come from a model file made fit for showing: one line, no control or invisible characters.

    What exceeds the longest length allowed is cut out of the middle.
    """
    if len(text) > longest:
        half = longest // 2 - 1
        text = f"{text[:half]} … {text[-half + 1:]}"
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _HIDDEN else c for c in text)


def clean_lines(text: str) -> str:
    """A message of several lines made fit for a terminal: each line as `clean` makes it, of any length."""
    return "\n".join(clean(line, len(line)) for line in text.split("\n"))


def count(n: int | float) -> str:
    """12,345"""
    return f"{n:,.0f}"


def kb(n: int | float) -> str:
    """22.1 KB; whole KB without decimals; below 1 KB the bytes themselves."""
    if n < KB:
        return f"{n:,.0f} bytes"
    return f"{n / KB:,.0f} KB" if n % KB == 0 else f"{n / KB:,.1f} KB"


def size(n: int) -> str:
    """22,604 bytes (22.1 KB)"""
    return f"{n:,} bytes ({kb(n)})" if n >= KB else f"{n:,} bytes"


def share(part: float, whole: float) -> float:
    """Per cent of the whole; 0 where there is no whole."""
    return 100 * part / whole if whole else 0.0


def points(interval: tuple[float, float]) -> str:
    """A 95 % interval of a difference of fractions: "-0.42 to +0.36"."""
    return " to ".join(f"{100 * end:+.2f}" for end in interval)


def percent(fraction: float) -> str:
    """91.30 %"""
    return f"{100 * fraction:.2f} %"


def milliseconds(ms: float) -> str:
    """Three significant digits; whole milliseconds from 100 on."""
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"


def macs_per_cycle(macs: int, cycles: int) -> str:
    return f"{macs / cycles:.2f}" if macs and cycles else "–"


def evidence(report: Report, figure: str) -> str:
    """The evidence class of a figure; the latency is the cycles over the clock, so it has their class if none of its
    own."""
    known = report.evidence
    found = known.get(figure) or (known.get("cycles") if figure == "latency_ms" else None)
    return clean(found) if found else UNSTATED


def band(report: Report) -> str:
    """±25 %; empty where the figure has no band."""
    return f"±{100 * report.cycles_band:.3g} %" if report.cycles_band > 0 else ""


def cycles_class(report: Report, figure: str = "cycles") -> str:
    """What stands beside every cycle and latency figure: "estimated, ±25 %"."""
    return ", ".join(filter(None, (evidence(report, figure), band(report))))


class Verdict(NamedTuple):
    status: Literal["pass", "fail", "none"]
    headline: str
    detail: str


def verdict(v: Verify) -> Verdict:
    """The outcome of the comparison in one headline and one sentence. "fail" also on findings of the audit."""
    ran = (f"Compared with {clean(v.oracle)} on {clean(v.inputs)}: {count(v.host)} on the host, "
           f"{count(v.emulated)} on the emulated core.")
    audit = ("The audit was not run." if v.audit is None
             else f"The audit (instruction set, alignment, writes to flash) has {count(v.audit)} findings.")
    if not v.host and not v.emulated:
        return Verdict("none", "not verified", f"No sample was compared with an oracle. {audit}")
    if not v.bit_exact:
        first = f"; the first layer that differs is {clean(v.first_diff_layer)}" if v.first_diff_layer else ""
        differs = f"{count(v.differing)} output elements differ, by at most {count(v.max_abs_diff)}{first}."
        return Verdict("fail", "differs from the oracle", f"{ran} {differs} {audit}")
    if v.audit:
        return Verdict("fail", "bit-exact, but the audit has findings", f"{ran} {audit}")
    return Verdict("pass", "bit-exact", f"{ran} No output element differs. {audit}")


STREAMS_HINT = ("A stream runs layers together, row by row, and keeps of the tensors between them only the rows that "
                "are still needed (lines). It takes more instructions, so layers that it would not help run alone.")


class StreamWords(NamedTuple):
    """What a stream is, saves and costs. layers: "3 to 11"; how: columns and passes."""

    layers: str
    name: str
    how: str
    memory: str
    cost: str


def streams(report: Report) -> list[StreamWords]:
    """Every stream of the schedule in words, in execution order."""
    found, number = [], 0
    for s in report.segments:
        if s.kind == "stream":
            last = number + s.layers - 1
            layers = f"{number} to {last}" if s.layers > 1 else str(number)
            found.append(StreamWords(layers, clean(s.name), _how(s), _memory(s), _cost(s)))
        number += s.layers
    return found


def _how(s: SegmentReport) -> str:
    columns = f"{count(s.columns)} columns at a time" if s.columns else "whole rows"
    pushed = f", rows of the input {clean(s.pushed)} as they arrive" if s.pushed else ""
    parts = f" for each of {count(s.strips)} strips of columns" if s.strips > 1 else ""
    parts += f" for each of {count(s.groups)} groups of channels" if s.groups > 1 else ""
    return f"{plural(s.layers, 'layer')}, {columns}, {plural(s.passes, 'pass', 'passes')}{parts}{pushed}"


def _memory(s: SegmentReport) -> str:
    saved = s.live_alone - s.live
    more = f", {size(-saved)} more" if saved < 0 else ""
    outcome = f"saves {size(saved)}" if saved > 0 else f"saves nothing{more}"
    what = "sums, counters and push buffer" if s.pushed else "sums and counters"
    other = f", {what} {size(s.other_bytes)}" if s.other_bytes else ""
    return (f"lines {size(s.line_bytes)} instead of whole tensors of {size(s.whole_bytes)}{other}; at most "
            f"{size(s.live)} alive, {size(s.live_alone)} with its layers alone: {outcome}")


def _cost(s: SegmentReport) -> str:
    macs = f"{plural(s.extra_macs, 'MAC')} computed again" if s.extra_macs else "no MAC computed twice"
    if not s.weight_bytes:
        return f"no weights; {macs}"
    return (f"kernels start on {size(s.weight_bytes)} of weights {_times(s.weight_bytes_read, s.weight_bytes)}, "
            f"{_times(s.weight_bytes_read_alone, s.weight_bytes)} with its layers alone; {macs}")


def _times(read: int, stored: int) -> str:
    times = f"{read / stored:,.0f}" if read >= 100 * stored else f"{read / stored:.3g}"
    return "once" if times == "1" else f"{times} times"


def weight_reads(w: Weights) -> str:
    """How often weights are read: "3 times at most, 1.2 times on average"."""
    if w.reads_max == 1:
        return "once"
    return f"{w.reads_max:,.0f} times at most, {w.reads_mean:,.3g} on average"


def plural(n: int, one: str, many: str = "") -> str:
    """1 layer, 2 layers"""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"
