"""Depthwise16 family: each channel of int16 activations with its own window of int8 weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family(
    "depthwise16",
    (Kernel("depthwise16_taps", "depthwise16/depthwise.c.j2", always, no_scratch, _context, per_mac=5.0),),
)
