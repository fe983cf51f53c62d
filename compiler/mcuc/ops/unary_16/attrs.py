"""The attributes of unary_16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mcuc.ops._wide import INT16


@dataclass(frozen=True)
class Unary16Attrs:
    """sigmoid, tanh: of (x * multiplier + half) >> shift, in units of 2^-12 / 3. linear: x by a quantized multiplier,
    negative values by another where one is given (it has alpha in it), clamped."""

    kind: Literal["sigmoid", "tanh", "linear"]
    multiplier: int
    shift: int
    negative: tuple[int, int] | None = None
    clamp: tuple[int, int] = INT16
    alpha: float = 1.0
