"""Move family: bytes from one place to another (transpose, slice, concatenate, pad, nearest resize)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_scratch
from mcuc.targets import Chip


def _kind(kind: str, call: Call) -> No | None:
    return None if call.params["kind"] == kind else No(f"moves by {call.params['kind']}, not by {kind}")


def _gather(call: Call, chip: Chip | None) -> No | None:
    return _kind("gather", call)


def _strided(call: Call, chip: Chip | None) -> No | None:
    return _kind("strided", call)


def _pad(call: Call, chip: Chip | None) -> No | None:
    return _kind("pad", call)


def _columns(call: Call, chip: Chip | None) -> No | None:
    return _kind("columns", call)


def _constant(call: Call, chip: Chip | None) -> No | None:
    return _kind("constant", call)


def _indexed(call: Call, chip: Chip | None) -> No | None:
    return _kind("indexed", call)


def _context(call: Call) -> Mapping[str, Any]:
    return {"channels": call.channels, "width": call.width}


FAMILY = Family(
    "move",
    (
        Kernel("move_gather", "move/gather.c.j2", _gather, no_scratch, _context, in_order=False),
        Kernel("move_strided", "move/strided.c.j2", _strided, no_scratch, _context, in_order=False),
        Kernel("move_pad", "move/pad.c.j2", _pad, no_scratch, _context),
        Kernel("move_columns", "move/columns.c.j2", _columns, no_scratch, _context),
        Kernel("move_constant", "move/constant.c.j2", _constant, no_scratch, _context),
        Kernel("move_indexed", "move/indexed.c.j2", _indexed, no_scratch, _context),
    ),
)
