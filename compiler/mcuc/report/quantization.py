"""quantization.html: what quantization did to each value of a network, with its calibration histogram as a picture.

Names come from model files: everything is escaped, and the page refers to nothing outside itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from mcuc.ir import Array
from mcuc.report import palette, svg, words
from mcuc.report.html import environment

WIDTH, HEIGHT, BARS = 240, 44, 80


@dataclass(frozen=True, eq=False)
class ValueRow:
    """One quantized value: of the float network's name and operator. snr: dB with the whole network quantized; alone:
    dB of the outputs with this layer alone quantized, None where that was not measured; low, high: what the integers
    cover; counts: its histogram over extent (least and largest value seen)."""

    name: str
    op: str
    snr: float
    alone: float | None
    low: float
    high: float
    scale: float
    zero_point: int
    dtype: str
    counts: Array
    extent: tuple[float, float]


class _Row(NamedTuple):
    value: ValueRow
    picture: Markup


def to_html(model: str, samples: str, tried: Sequence[tuple[str, float]], rows: Sequence[ValueRow]) -> str:
    """The page. tried: ways of quantizing and the dB that each reached; the same arguments give the same text."""
    best = max(tried, key=lambda t: t[1])[0] if tried else ""
    return (
        environment()
        .get_template("quantization.html.j2")
        .render(
            model=model,
            samples=samples,
            tried=tried,
            best=best,
            rows=[_Row(r, histogram(r, f"h{i}")) for i, r in enumerate(rows)],
            measured=any(r.alone is not None for r in rows),
            light=list(palette.variables(dark=False)),
            dark=list(palette.variables(dark=True)),
        kind_colours=palette.OTHER + 1,
        )
    )


def histogram(row: ValueRow, ident: str) -> Markup:
    """Bars of a value's histogram, their heights logarithmic; what lies outside the integers' range is marked."""
    low, high = min(row.extent[0], row.low), max(row.extent[1], row.high)
    x = svg.linear(low, high, 0, WIDTH)
    edges = np.linspace(row.extent[0], row.extent[1], len(row.counts) + 1)
    at = np.clip(((edges[:-1] + edges[1:]) / 2 - low) / ((high - low) or 1.0) * BARS, 0, BARS - 1).astype(np.int64)
    bars = np.bincount(at, weights=row.counts, minlength=BARS)
    most = np.log1p(bars.max()) or 1.0
    shapes = []
    for i, count in enumerate(bars):
        if count:
            centre = low + (i + 0.5) * (high - low) / BARS
            tall = max(1.0, float(np.log1p(count) / most) * HEIGHT)
            css = "kept" if row.low <= centre <= row.high else "clipped"
            shapes.append(svg.rectangle(i * WIDTH / BARS, HEIGHT - tall, WIDTH / BARS, tall, css))
    ends = [svg.line(x(end), 0, x(end), HEIGHT, "end") for end in (row.low, row.high)]
    said = f"values from {row.extent[0]:.4g} to {row.extent[1]:.4g}; integers cover {row.low:.4g} to {row.high:.4g}"
    size = Markup(' width="{}" height="{}"').format(WIDTH, HEIGHT)
    return svg.picture(ident, (WIDTH, HEIGHT), words.clean(row.name), said, [*shapes, *ends], size)
