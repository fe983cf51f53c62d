"""Pool16 family: the highest value or the average over a window of each channel of int16 activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {"outs": call.channels // 2}


FAMILY = Family("pool16", (Kernel("pool16_window", "pool16/pool.c.j2", always, no_scratch, _context),))
