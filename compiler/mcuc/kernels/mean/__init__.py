"""Mean family: each output element averages two nested strides of one input row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family("mean", (Kernel("mean_strided", "mean/mean.c.j2", always, no_scratch, _context),))
