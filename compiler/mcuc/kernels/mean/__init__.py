"""Mean family: each output element averages two nested strides of one input row, or reduces any number of them."""

from __future__ import annotations

from mcuc.kernels._base import Call, Family, Kernel, No, no_context, no_scratch
from mcuc.targets import Chip


def _two(call: Call, chip: Chip | None) -> No | None:
    return No("not an average over two strides") if "loops" in call.params else None


def _any(call: Call, chip: Chip | None) -> No | None:
    return None if "loops" in call.params else No("two strides are enough")


FAMILY = Family(
    "mean",
    (
        Kernel("mean_strided", "mean/mean.c.j2", _two, no_scratch, no_context),
        Kernel("mean_reduce", "mean/reduce.c.j2", _any, no_scratch, no_context),
    ),
)
