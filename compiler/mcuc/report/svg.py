"""Small helpers for hand-made SVG: scales, ticks, labels that fit. Markup.format escapes all text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil, floor, log10

from markupsafe import Markup

from mcuc.report.words import clean

CHARACTER = 6.6  # width of an average character at the 11 px of chart labels, on the safe side

Scale = Callable[[float], float]


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Maps [low, high] to [start, end] in pixels."""
    span = (high - low) or 1.0
    return lambda v: start + (end - start) * (v - low) / span


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """At most about `wanted` multiples of 1, 2 or 5 times a power of ten within [low, high]."""
    if high <= low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** floor(log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * 0.999)
    return [i * step for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def byte_ticks(high: float, wanted: int) -> list[int]:
    """Multiples of a power of two from 0 up to high bytes."""
    step = 1
    while high / step > wanted:
        step *= 2
    return list(range(0, floor(high) + 1, step))


def join(parts: Iterable[Markup]) -> Markup:
    return Markup("\n").join(parts)


def text(x: float, y: float, words: str, css: str, anchor: str = "start", turn: bool = False) -> Markup:
    """One line of text; turned to read upwards if asked."""
    rotate = Markup(' transform="rotate(-90 {:.1f} {:.1f})"').format(x, y) if turn else Markup("")
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>').format(
        css, x, y, anchor, rotate, clean(words))


def line(x0: float, y0: float, x1: float, y1: float, css: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(css, x0, y0, x1, y1)


def fitted(words: str, pixels: float) -> str:
    """The words if they fit the width, cut in the middle if at least four characters do (names differ at both ends),
    else nothing."""
    room = int(pixels / CHARACTER)
    shown = clean(words)
    if len(shown) <= room:
        return shown
    if room < 4:
        return ""
    head = room // 2
    return f"{shown[:head]}…{shown[len(shown) - (room - head - 1):]}"


def picture(
    ident: str,
    size: tuple[int, int],
    title: str,
    description: str,
    content: Iterable[Markup],
    attributes: Markup,
) -> Markup:
    """The outer element, with the name and the description that screen readers read.

    size: width and height; attributes: more of them, each after a space.
    """
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{i}-t {i}-d"{a}>\n'
        '<title id="{i}-t">{t}</title>\n<desc id="{i}-d">{d}</desc>\n{c}\n</svg>'
    ).format(w=size[0], h=size[1], i=ident, t=clean(title), d=description, c=join(content), a=attributes)


def labelled(tip: str, *shapes: Markup) -> Markup:
    """Shapes with what the pointer shows over them."""
    return Markup("<g><title>{}</title>{}</g>").format(tip, Markup("").join(shapes))


def rectangle(left: float, top: float, wide: float, tall: float, css: str, radius: int = 0) -> Markup:
    rounded = Markup(' rx="{}"').format(radius) if radius else Markup("")
    return Markup('<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"{}/>').format(
        css, left, top, wide, tall, rounded)
