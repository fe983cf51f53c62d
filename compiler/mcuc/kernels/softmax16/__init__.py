"""Softmax16 family: probabilities of int16 vectors by interpolated tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family(
    "softmax16", (Kernel("softmax16_tables", "softmax16/softmax.c.j2", always, no_scratch, _context, in_place=True),)
)
