"""Matmul16 family: products of two int16 matrices, both computed at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family("matmul16", (Kernel("matmul16_values", "matmul16/matmul.c.j2", always, no_scratch, _context),))
