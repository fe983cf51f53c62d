"""Unary16 family: element-wise functions of one int16 value, and requantization between int8 and int16."""

from __future__ import annotations

from mcuc.kernels._base import Call, Family, Kernel, No, always, no_context, no_scratch
from mcuc.targets import Chip


def _one_size(call: Call, chip: Chip | None) -> No | None:
    same = call.params["from_bytes"] == call.params["to_bytes"]
    return None if same else No("input and output elements are of different sizes")


FAMILY = Family(
    "unary16",
    (
        Kernel("unary16_values", "unary16/unary.c.j2", _one_size, no_scratch, no_context, in_place=True),
        Kernel("unary16_resized", "unary16/unary.c.j2", always, no_scratch, no_context),
    ),
)
