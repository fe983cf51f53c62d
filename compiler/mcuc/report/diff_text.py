"""Two builds side by side for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mcuc.report import accuracy, words
from mcuc.report.diff import AccuracyChange, Diff, Figure, LayerChange
from mcuc.report.types import LayerReport

LAYERS_SHOWN = 20


def to_text(found: Diff) -> RenderableType:
    """What the command line prints. Texts from reports are cleaned of control characters and never read as markup."""
    parts: list[RenderableType] = [Text.assemble(("old: ", "bold"), words.clean(found.old, words.LONGEST_TEXT), "\n",
                                                 ("new: ", "bold"), words.clean(found.new, words.LONGEST_TEXT))]
    if found.settings:
        rows = [(words.clean(c.name), _said(c.old), _said(c.new)) for c in found.settings]
        parts.append(_table("Settings that differ", ("setting", "old", "new"), rows, left=3))
    parts.append(_table("Figures", ("figure", "old", "new", "change", ""), [_figure(f) for f in found.figures]))
    if found.accuracy is not None:
        parts.append(_accuracy(found.accuracy))
    parts.append(_layers(found.layers))
    parts.extend(Text(f"note: {words.clean(note, words.LONGEST_TEXT)}") for note in found.notes)
    parts.extend(Text(f"worse: {words.clean(text)}", style="bold red") for text in found.regressions)
    return Group(*parts)


def _said(value: str | None) -> str:
    return "–" if value is None else words.clean(value)


def _figure(f: Figure) -> tuple[str, ...]:
    name = f"{f.name} ({f.unit})" if f.unit else f.name
    if f.unit == "ms":
        return name, f"{f.old:,.4g}", f"{f.new:,.4g}", *_change(f.new - f.old, f.old, f"{f.new - f.old:+,.4g}")
    return name, words.count(f.old), words.count(f.new), *_change(f.new - f.old, f.old, f"{f.new - f.old:+,.0f}")


def _change(gap: float, old: float, text: str) -> tuple[str, str]:
    if not gap:
        return "=", ""
    return text, f"{100 * gap / old:+.1f} %" if old else ""


def _accuracy(a: AccuracyChange) -> RenderableType:
    def said(value: float | None) -> str:
        return accuracy.figure(a.metric, value)

    over = f"over {words.plural(a.paired, 'sample')} that both judged" if a.paired else "each over its own samples"
    lines = [f"{accuracy.label(a.metric)}, {over}: int8 {said(a.old)} -> {said(a.new)}"]
    if a.paired:
        lines[0] += f", {accuracy.interval(a.metric, a.difference)}"
    lines.append(f"  of the float networks: {said(a.old_float)} -> {said(a.new_float)}")
    if a.old_rmse is not None and a.new_rmse is not None:
        between = accuracy.interval(a.metric, a.rmse_difference)
        lines.append(f"  RMSE {a.old_rmse:.4g} -> {a.new_rmse:.4g}, {between}")
    if a.paired:
        lost, gained = ("error larger", "error smaller") if a.metric == "error" else ("right in old, wrong in new",
                                                                                     "wrong in old, right in new")
        for what, numbers in ((lost, a.negative_flips), (gained, a.positive_flips)):
            which = f": samples {accuracy.listed(numbers, accuracy.FLIPS_SHOWN, '--json')}" if numbers else ""
            lines.append(f"  {what}: {words.count(len(numbers))}{which}")
    return Text("\n".join(lines))


def _layers(changes: tuple[LayerChange, ...]) -> RenderableType:
    if not changes:
        return Text("Layers: the same kernels, counts and memory")
    largest = sorted(changes, key=lambda c: -abs(c.cycles))[:LAYERS_SHOWN]
    rows = [(words.clean(c.name), _pair(c, "kernel"), _pair(c, "instructions"), _pair(c, "cycles"),
             f"{c.cycles:+,}" if c.cycles else "=", _pair(c, "sram_live")) for c in largest]
    more = f", the {LAYERS_SHOWN} largest changes" if len(changes) > LAYERS_SHOWN else ""
    title = f"{words.plural(len(changes), 'layer')} that {'differs' if len(changes) == 1 else 'differ'}{more}"
    return _table(title, ("layer", "kernel", "instructions", "cycles", "change", "live SRAM"), rows, left=2)


def _pair(c: LayerChange, name: str) -> str:
    old, new = (_value(layer, name) for layer in (c.old, c.new))
    return old if old == new else f"{old} -> {new}"


def _value(layer: LayerReport | None, name: str) -> str:
    if layer is None:
        return "–"
    value = getattr(layer, name)
    return words.clean(value) if isinstance(value, str) else words.count(value)


def _table(title: str, headers: tuple[str, ...], rows: Sequence[Sequence[str]], left: int = 1) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left",
                  title_style="bold")
    for i, header in enumerate(headers):
        table.add_column(header, justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
