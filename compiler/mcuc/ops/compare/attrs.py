"""The attributes of compare, and how values become ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcuc.ir import Array

Kind = Literal["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
FUNCTIONS: dict[Kind, Callable[[Array, Array], Array]] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}


@dataclass(frozen=True)
class CompareAttrs:
    """kind: the question. left, right: 256 int16 ranks, little endian, indexed by the operand's unsigned byte; both
    empty where the integers themselves are compared."""

    kind: Kind
    left: bytes = b""
    right: bytes = b""


def ranked(kind: Kind, left: Array, right: Array) -> CompareAttrs:
    """left, right: what the operands are worth for the bytes -128 to 127 in this order; only their order counts."""
    _, ranks = np.unique(np.concatenate([left, right]), return_inverse=True)
    both = ranks.reshape(2, 256).astype(np.int16)
    if np.array_equal(both[0], both[1]) and np.all(np.diff(both[0]) > 0):
        return CompareAttrs(kind)
    a, b = (np.roll(r, -128).astype("<i2").tobytes() for r in both)
    return CompareAttrs(kind, a, b)
