"""The colours of the report's pictures by name: light, dark. The page's own colours are in report.css.j2."""

from __future__ import annotations

from collections.abc import Iterator

# Fills (k) with their outlines (e) and every text colour reach the contrast of WCAG level AA; a test computes it.
COLOURS = {
    "page": ("#f4f5f7", "#0f1216"),
    "panel": ("#ffffff", "#181c22"),
    "ink": ("#16191d", "#e9ecf0"),
    "soft": ("#4d5661", "#a9b3bf"),
    "edge": ("#d5dae0", "#323943"),
    "grid": ("#e3e7ec", "#262c34"),
    "bad": ("#a3161f", "#ff9c9c"),
    "band0": ("#eef1f5", "#20262e"),
    "band1": ("#e4e9f0", "#272e38"),
    "k0": ("#bfd8f7", "#1e3f68"),
    "k1": ("#bfe8cd", "#194a2e"),
    "k2": ("#d9def0", "#2c3450"),
    "k3": ("#f9e08f", "#564708"),
    "k4": ("#fad0ae", "#5c3213"),
    "k5": ("#e5cff5", "#44265c"),
    "k6": ("#f7c6d3", "#5c2236"),
    "k7": ("#a9e5e6", "#0d4a4c"),
    "k8": ("#dcdcd4", "#3b3b36"),
    "e0": ("#2563b8", "#6ba6f0"),
    "e1": ("#1f7a45", "#5bbd8c"),
    "e2": ("#5a6694", "#8e9acb"),
    "e3": ("#8a6a00", "#d9bd4a"),
    "e4": ("#b4560b", "#eb9950"),
    "e5": ("#7d3fae", "#c193ee"),
    "e6": ("#b02a55", "#f08dab"),
    "e7": ("#0d7478", "#4fc4c8"),
    "e8": ("#6b6b60", "#a5a598"),
}
KINDS = ("input", "output", "activation", "line", "scratch", "sums", "counters", "push buffer")  # k0, k1, ...
OTHER = len(KINDS)


def colour_of(kind: str) -> int:
    """The number of a buffer kind's colour; one for all kinds that are not among the usual."""
    return {kind: i for i, kind in enumerate(KINDS)}.get("input" if kind == "input or output" else kind, OTHER)


def variables(dark: bool) -> Iterator[str]:
    """The colours as custom properties of CSS."""
    return (f"--{name}: {pair[dark]};" for name, pair in COLOURS.items())
