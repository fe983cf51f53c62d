"""The attributes of softmax."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SoftmaxAttrs:
    """table: exp(-beta * scale * d) for d = 0..255 in Q0.31; the output has scale 1/256 and zero point -128.

    beta: already in the table, kept for the exporters.
    """

    table: tuple[int, ...]
    beta: float = 1.0
