"""Argmax family: of each pixel's channels the index of the largest, as 32 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family("argmax", (Kernel("argmax_scan", "argmax/argmax.c.j2", always, no_scratch, _context),))
