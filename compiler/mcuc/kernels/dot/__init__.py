"""Dot family: convolution with groups, pointwise convolution and dense layers as dot products over a patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always


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
