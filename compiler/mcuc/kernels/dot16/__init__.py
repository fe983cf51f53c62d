"""Dot16 family: convolutions and dense layers of int16 activations and int8 weights, as dot products over a patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always


def _scratch(call: Call) -> int:
    return 0 if call.params["pointwise"] else (2 * int(call.params["taps"]) + 3) & ~3


def _context(call: Call) -> Mapping[str, Any]:
    p = call.params
    return {"per_group": p["outs"] // p["groups"], "contiguous": p["dil_w"] == 1 and p["groups"] == 1}


FAMILY = Family(
    "dot16", (Kernel("dot16_patch", "dot16/dot.c.j2", always, _scratch, _context, outputs=2, per_mac=2.5),)
)
