"""Pool family: the highest value or the average over a window of each channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    p = call.params
    whole = p["kh"] * p["kw"]
    fixed = p["count_include_pad"] or not (p["padded_w"] or call.rows[0].pad or _runs_over(call))
    return {"taps": whole, "count": str(whole) if fixed else "count"}


def _runs_over(call: Call) -> bool:
    """The last window ends below the last input row."""
    r = call.rows[0]
    return (call.height - 1) * r.stride - r.pad + (r.count - 1) * r.dilation >= r.height


FAMILY = Family("pool", (Kernel("pool_window", "pool/pool.c.j2", always, no_scratch, _context),))
