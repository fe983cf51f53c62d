"""Pool family: the highest value or the average over a window of each channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_context, no_scratch
from mcuc.targets import Chip


def _context(call: Call) -> Mapping[str, Any]:
    p = call.params
    whole = p["kh"] * p["kw"]
    fixed = p["count_include_pad"] or not (p["padded_w"] or call.rows[0].pad or _runs_over(call))
    return {"taps": whole, "count": str(whole) if fixed else "count"}


def _runs_over(call: Call) -> bool:
    """The last window ends below the last input row."""
    r = call.rows[0]
    return (call.height - 1) * r.stride - r.pad + (r.count - 1) * r.dilation >= r.height


def _float32(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] == "float32" else No("not a float32 average")


def _integers(call: Call, chip: Chip | None) -> No | None:
    return No("a float32 average") if call.params["kind"] == "float32" else None


FAMILY = Family(
    "pool",
    (
        Kernel("pool_float32", "pool/float32.c.j2", _float32, no_scratch, no_context),
        Kernel("pool_window", "pool/pool.c.j2", _integers, no_scratch, _context),
    ),
)
