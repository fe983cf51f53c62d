"""Mean family: each output element averages two nested strides of one input row, or reduces any number of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_scratch
from mcuc.targets import Chip


def _context(call: Call) -> Mapping[str, Any]:
    return {}


def _two(call: Call, chip: Chip | None) -> No | None:
    return No("not an average over two strides") if "loops" in call.params else None


def _any(call: Call, chip: Chip | None) -> No | None:
    return None if "loops" in call.params else No("two strides are enough")


FAMILY = Family(
    "mean",
    (
        Kernel("mean_strided", "mean/mean.c.j2", _two, no_scratch, _context),
        Kernel("mean_reduce", "mean/reduce.c.j2", _any, no_scratch, _context),
    ),
)
