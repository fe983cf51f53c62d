"""Norm family: each pixel's channels over a measure of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_context, no_scratch
from mcuc.targets import Chip


def _affine(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] == "affine" else No("no gain and offset")


def _context(call: Call) -> Mapping[str, Any]:
    """unroll: elements a round, a divisor of the row."""
    count = call.params["count"]
    return {"unroll": next(n for n in (4, 3, 2, 1) if count % n == 0)}


def _l2(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] == "l2" else No("no division by the length")


FAMILY = Family(
    "norm",
    (
        Kernel("norm_affine", "norm/affine.c.j2", _affine, no_scratch, _context, in_place=True),
        Kernel("norm_l2", "norm/l2.c.j2", _l2, no_scratch, no_context, in_place=True),
    ),
)
