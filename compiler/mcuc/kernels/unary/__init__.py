"""Unary family: element-wise functions of one int8 value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family("unary", (Kernel("unary_bytes", "unary/unary.c.j2", always, no_scratch, _context, in_place=True),))
