"""Depthwise family: every output channel reads one input channel through a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch
from mcuc.kernels.depthwise import _words


def _context(call: Call) -> Mapping[str, Any]:
    p = call.params
    return {"channels": call.channels, "four": p["multiplier"] == 1 and not p["wide"] and call.channels >= 4}


FAMILY = Family(
    "depthwise",
    (
        Kernel(
            "depthwise_words",
            "depthwise/words.c.j2",
            _words.applies,
            no_scratch,
            _words.context,
            tables=_words.tables,
            helpers=_words.helpers,
            per_mac=3.2,
        ),
        Kernel("depthwise_taps", "depthwise/depthwise.c.j2", always, no_scratch, _context, per_mac=5.5),
    ),
)
