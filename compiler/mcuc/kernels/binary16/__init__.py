"""Binary16 family: element-wise functions of two int16 values, broadcast by strides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch


def _context(call: Call) -> Mapping[str, Any]:
    return {"outs": call.channels // 2}


FAMILY = Family(
    "binary16", (Kernel("binary16_values", "binary16/binary.c.j2", always, no_scratch, _context, in_place=True),)
)
