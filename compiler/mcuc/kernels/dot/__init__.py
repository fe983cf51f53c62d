"""Dot family: convolution with groups, pointwise convolution and dense layers as dot products over a patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _taps(call: Call) -> int:
    return int(call.params["kh"] * call.params["kw"] * call.params["cin"])


def _scratch(call: Call) -> int:
    return 0 if call.params["pointwise"] else (_taps(call) + 3) & ~3


def _context(call: Call) -> Mapping[str, Any]:
    p = call.params
    return {
        "taps": _taps(call),
        "per_group": call.channels // p["groups"],
        "contiguous": p["dil_w"] == 1 and p["groups"] == 1,
    }


FAMILY = Family("dot", (Kernel("dot_patch", "dot/dot.c.j2", always, _scratch, _context),))

# A 1x1 convolution by groups of its input channels: partial sums group after group, then the output from the sums.
# Chosen by the schedule, not among the family's kernels for a whole layer.


def _sums_context(call: Call) -> Mapping[str, Any]:
    return {"outs": call.channels, "taps": _taps(call)}


PARTIAL = Kernel("dot_partial", "dot/partial.c.j2", always, no_scratch, _sums_context)
FINISH = Kernel("dot_finish", "dot/finish.c.j2", always, no_scratch, _sums_context)
