"""The attributes of binary_16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mcuc.ir import Requant
from mcuc.ops._wide import INT16

LEFT_SHIFT = 15  # headroom that TFLite gives int16 operands of a sum before rescaling them


@dataclass(frozen=True)
class Binary16Attrs:
    """add, sub: clamp(requant(A ± B)), A = requants[0](a * 2^15), B likewise; square: clamp(requant((A - B)^2)), A =
    requants[0](a); mul: clamp(requant(a * b)); max and min choose one of both as it is."""

    kind: Literal["add", "sub", "mul", "max", "min", "square"]
    requants: tuple[Requant, ...] = ()
    requant: Requant | None = None
    clamp: tuple[int, int] = INT16
