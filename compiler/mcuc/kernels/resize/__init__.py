"""Resize family: every output from two neighbouring pixels of two neighbouring rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_scratch
from mcuc.targets import Chip


def _integers(call: Call, chip: Chip | None) -> No | None:
    return No("weights are float32") if call.params["float32"] else None


def _float32(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["float32"] else No("weights are integers")


def _units(call: Call) -> Mapping[str, Any]:
    bits = call.params["bits"]
    return {"half": 1 << (2 * bits - 1), "whole": 1 << (2 * bits)}


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family(
    "resize",
    (
        Kernel("resize_integer", "resize/integer.c.j2", _integers, no_scratch, _units),
        Kernel("resize_float32", "resize/float32.c.j2", _float32, no_scratch, _context),
    ),
)
