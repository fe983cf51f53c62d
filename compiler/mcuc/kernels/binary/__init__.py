"""Binary family: element-wise functions of two int8 values, broadcast by strides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family("binary", (Kernel("binary_bytes", "binary/binary.c.j2", always, no_scratch, _context, in_place=True),))
