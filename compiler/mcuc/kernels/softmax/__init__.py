"""Softmax family: each pixel's channels to probabilities, with a table of exponentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_context, no_scratch
from mcuc.targets import Chip


def _float32(call: Call, chip: Chip | None) -> No | None:
    return None if call.params.get("kind") == "float32" else No("not a float32 softmax")


def _integers(call: Call, chip: Chip | None) -> No | None:
    kind = call.params.get("kind")
    return No("a float32 softmax" if kind == "float32" else "a logarithm of softmax") if kind else None


def _log(call: Call, chip: Chip | None) -> No | None:
    return None if call.params.get("kind") == "log" else No("not a logarithm of softmax")


def _no_context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family(
    "softmax",
    (
        Kernel("softmax_float32", "softmax/float32.c.j2", _float32, no_scratch, _no_context, in_place=True),
        Kernel("softmax_table", "softmax/softmax.c.j2", _integers, no_scratch, no_context, in_place=True),
        Kernel("softmax_log", "softmax/log.c.j2", _log, no_scratch, _no_context, in_place=True),
    ),
)
