"""Depthwise family: every output channel reads one input channel through a window."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch
from mcuc.kernels.depthwise import _words


def _context(call: Call) -> Mapping[str, Any]:
    p = call.params
    return {"channels": call.channels, "four": p["multiplier"] == 1 and not p["wide"] and call.channels >= 4}


def _words_kernel(name: str, dual: bool) -> Kernel:
    return Kernel(
        name,
        "depthwise/words.c.j2",
        _words.dual_issue if dual else _words.applies,
        no_scratch,
        _words.context,
        tables=_words.tables,
        helpers=partial(_words.helpers, dual=dual),
        per_mac=3.2,
    )


FAMILY = Family(
    "depthwise",
    (
        _words_kernel("depthwise_words_dual", dual=True),
        _words_kernel("depthwise_words", dual=False),
        Kernel("depthwise_taps", "depthwise/depthwise.c.j2", always, no_scratch, _context, per_mac=5.5),
    ),
)
