"""Binary16 family: element-wise functions of int16 values, broadcast by strides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_scratch
from mcuc.targets import Chip


def _context(call: Call) -> Mapping[str, Any]:
    return {"outs": call.channels // 2}


def _select(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] == "select" else No("computes, does not choose")


def _computes(call: Call, chip: Chip | None) -> No | None:
    return No("chooses, does not compute") if call.params["kind"] == "select" else None


FAMILY = Family(
    "binary16",
    (
        Kernel("binary16_select", "binary16/select.c.j2", _select, no_scratch, _context, in_place=True),
        Kernel("binary16_values", "binary16/binary.c.j2", _computes, no_scratch, _context, in_place=True),
    ),
)
