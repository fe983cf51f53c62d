"""Resize family: every output from two, or four, neighbouring pixels of as many neighbouring rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_context, no_scratch
from mcuc.targets import Chip


def _only(kind: str) -> Callable[[Call, Chip | None], No | None]:
    """Applies to calls of that kind."""

    def applies(call: Call, chip: Chip | None) -> No | None:
        return None if call.params["kind"] == kind else No(f"resizes by {call.params['kind']}, not by {kind}")

    return applies


def _units(call: Call) -> Mapping[str, Any]:
    bits = call.params["bits"]
    return {"half": 1 << (2 * bits - 1), "whole": 1 << (2 * bits)}


FAMILY = Family(
    "resize",
    (
        Kernel("resize_integer", "resize/integer.c.j2", _only("integer"), no_scratch, _units),
        Kernel("resize_float32", "resize/float32.c.j2", _only("float32"), no_scratch, no_context),
        Kernel("resize_cubic", "resize/cubic.c.j2", _only("cubic"), no_scratch, no_context),
    ),
)
