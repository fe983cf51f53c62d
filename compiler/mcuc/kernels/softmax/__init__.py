"""Softmax family: each pixel's channels to probabilities, with a table of exponentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family("softmax", (Kernel("softmax_table", "softmax/softmax.c.j2", always, no_scratch, _context,
                                   in_place=True),))
