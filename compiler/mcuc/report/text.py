"""The report for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mcuc.report import accuracy, words
from mcuc.report.types import Accuracy, Flash, Report, Sram

_STYLES = {"pass": "bold green", "fail": "bold red", "none": "bold yellow"}


def summary(report: Report) -> RenderableType:
    """What the command line prints: verdict, sizes against their budgets, time, accuracy, layers, notes.

    Texts from the model are cleaned of control characters and never read as markup.
    """
    parts: list[RenderableType] = [_headline(report), _figures(report)]
    if report.layers:
        parts.append(_layers(report))
    parts.extend(Text(f"note: {words.clean(note, words.LONGEST_TEXT)}") for note in report.notes)
    parts.append(Text(f"{words.KB_RULE}. {words.NOT_GUARANTEED}", style="dim"))
    return Group(*parts)


def _headline(report: Report) -> Text:
    v = words.verdict(report.verify)
    name = f"{words.clean(report.model)} on {words.clean(report.board)}"
    return Text.assemble((name, "bold"), ": ", (v.headline, _STYLES[v.status]), "\n", v.detail)


def _figures(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for label, text in figures(report):
        table.add_row(Text(label), Text(text))
    return table


def figures(report: Report) -> list[tuple[str, str]]:
    """The figures of the whole model as (label, text): each with its unit, its budget and its evidence class."""
    s, f, p = report.sram, report.flash, report.plan
    cycles = words.cycles_class(report)
    met = "the arena meets it" if p.optimal else f"the arena is {words.size(max(0, p.peak - p.lower_bound))} above it"
    kept = f" (the state {words.size(s.state)})" if s.state else ""
    rows = [
        ("core", f"{words.clean(report.core)} at {report.clock_hz / 1e6:g} MHz, {words.clean(report.toolchain)}, "
                 f"profile {words.clean(report.profile)}, optimized for {words.clean(report.optimize)}"),
        ("SRAM", f"{words.size(s.total)}{_of(s.total, s.budget)}; {words.evidence(report, 'sram')}"),
        ("", f"arena {words.size(s.arena)}, static {words.size(s.static)}{kept}, stack {words.size(s.stack)}; "
             f"arena without input and output {words.size(s.work)}"),
        *_regions(s),
        ("memory bound", f"{words.size(p.lower_bound)} proven for {words.clean(p.schedules)}; {met}"),
        *_streams(report),
        ("flash", f"{words.size(f.total)}{_of(f.total, f.budget)}; {words.evidence(report, 'flash')}"),
        ("", f"weights {words.size(f.weights)}, code {words.size(f.code)}"),
        *_flashes(f),
        *_weights(report),
        ("MACs", words.count(report.macs)),
        ("instructions", f"{words.count(report.instructions)} ({words.evidence(report, 'instructions')})"),
        ("cycles", f"{words.count(report.cycles)} ({cycles}), "
                   f"{words.macs_per_cycle(report.macs, report.cycles)} MAC/cycle ({cycles})"),
        ("latency", f"{words.milliseconds(report.latency_ms)} ({words.cycles_class(report, 'latency_ms')})"),
    ]
    if report.accuracy:
        rows += _accuracy(report.accuracy)
    chosen = next((c for c in report.pareto if c.chosen), None)
    if chosen:
        rows.append(("search", f"{words.clean(chosen.name)}, chosen from a front of {len(report.pareto)} candidates"))
    return rows


def _accuracy(a: Accuracy) -> list[tuple[str, str]]:
    """The C beside the float network, a row for each form that ran fewer samples, the negative flips."""
    what = "samples" if all(c.judged in (0, c.samples) for c in a.columns) else "groups of samples"
    rows = [(accuracy.label(a.metric), f"{', '.join(accuracy.headline(a))}, on {words.count(a.samples)} {what}")]
    for c, said in zip(a.columns, accuracy.columns(a), strict=True):
        if c.name not in ("float", "int8"):
            same = f"output elements unlike the C's: {said.differing}"
            beside = f", float {accuracy.figure(a.metric, c.float)}" if c.judged else ""
            value = f"{said.value} on " if c.judged else ""
            rows.append((f"  {said.name}", f"{value}{said.judged}{beside}; {same} ({said.runtime})"))
    found = accuracy.flips(a)
    return [*rows, ("  flips", f"right in float and wrong in int8: samples {found}")] if found else rows


def _regions(sram: Sram) -> list[tuple[str, str]]:
    """A row a RAM region that is in use, where regions were named."""
    rows = []
    for r in sram.regions:
        parts = [f"arena {words.size(r.arena)}"] if r.arena else []
        parts += [f"static data and stack {words.size(r.beside)}"] if r.beside else []
        used = f"{words.size(r.arena + r.beside)}{_of(r.arena + r.beside, r.size)}"
        rows.append((f"in {words.clean(r.name)}", f"{used}: {', '.join(parts)}"))
    return rows


def _flashes(flash: Flash) -> list[tuple[str, str]]:
    """A row a flash, where weights lie outside the chip."""
    rows = []
    for r in flash.regions:
        parts = [f"weights {words.size(r.weights)}"] if r.weights else []
        parts += [f"code {words.size(r.code)}"] if r.code else []
        used = f"{words.size(r.weights + r.code)}{_of(r.weights + r.code, r.size)}"
        rows.append((f"in {words.clean(r.name)}", f"{used}: {', '.join(parts)}"))
    return rows


def _weights(report: Report) -> list[tuple[str, str]]:
    """How often the weights are read, and what that costs."""
    w = report.weights
    if w is None:
        return []
    wait = f"; {words.count(w.waits)} cycles of waiting ({words.cycles_class(report)})" if w.waits else ""
    return [("weights read", f"a byte {words.weight_reads(w)}, {words.size(w.bytes_read)} in all{wait}")]


def _streams(report: Report) -> list[tuple[str, str]]:
    """A row a stream: what it saves and what it costs."""
    found = words.streams(report)
    if not found:
        return [("streams", "none, every layer runs alone")] if report.segments else []
    return [(f"stream {i}" if len(found) > 1 else "stream",
             f"layers {s.layers} ({s.name}): {s.how}; {s.memory}; {s.cost}") for i, s in enumerate(found, 1)]


def _of(total: int, budget: int) -> str:
    if not budget:
        return ", no budget given"
    over = ", OVER BUDGET" if total > budget else ""
    return f" of {words.size(budget)}, {words.share(total, budget):.1f} %{over}"


def _layers(report: Report) -> Table:
    title = (f"Layers; cycles and MAC/cycle are {words.cycles_class(report)}; "
             f"instructions are {words.evidence(report, 'instructions')}; live SRAM in bytes")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left",
                  title_style="bold")
    headers = ("#", "layer", "kernel", "MACs", "instructions", "cycles", "MAC/cycle", "live SRAM")
    rows = [(str(i), words.clean(x.name), words.clean(x.kernel), words.count(x.macs), words.count(x.instructions),
             words.count(x.cycles), words.macs_per_cycle(x.macs, x.cycles), words.count(x.sram_live))
            for i, x in enumerate(report.layers)]
    for i, header in enumerate(headers):
        if header in ("layer", "kernel"):  # these give way in a narrow terminal, figures never
            table.add_column(header, overflow="ellipsis", max_width=28)
        else:
            width = max(len(header), *(len(row[i]) for row in rows))
            table.add_column(header, justify="right", no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    return table
