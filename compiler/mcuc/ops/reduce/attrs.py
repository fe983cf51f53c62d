"""The attributes of reduce."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ReduceAttrs:
    """kind: sum, max or min of the values along axes (sorted, not negative); of truth values max is "any", min "all".

    values: what each byte -128 to 127 counts for, () for itself. steps: the thresholds that a sum is compared with: the
    output is -128 and as many as it reaches; () where the result is the output.
    """

    kind: Literal["sum", "max", "min"]
    axes: tuple[int, ...]
    keep_dims: bool
    values: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
