"""Unary family: element-wise functions of one int8 value, and conversions between integers of other sizes."""

from __future__ import annotations

from mcuc.kernels._base import Call, Family, Kernel, No, no_context, no_scratch
from mcuc.targets import Chip


def _bytes(call: Call, chip: Chip | None) -> No | None:
    return No("elements of several bytes") if "truth" in call.params else None


def _cast(call: Call, chip: Chip | None) -> No | None:
    return None if "truth" in call.params else No("a byte to a byte")


FAMILY = Family(
    "unary",
    (
        Kernel("unary_bytes", "unary/unary.c.j2", _bytes, no_scratch, no_context, in_place=True),
        Kernel("unary_cast", "unary/cast.c.j2", _cast, no_scratch, no_context),
    ),
)
