"""Mean16 family: sums of int16 values along nested strides of one input row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {"outs": call.channels // 2}


FAMILY = Family("mean16", (Kernel("mean16_strides", "mean16/mean.c.j2", always, no_scratch, _context),))
