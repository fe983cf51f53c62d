"""Softmax family: each pixel's channels to probabilities, with a table of exponentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_context, no_scratch
from mcuc.targets import Chip

STEPS = 256  # bytes of scratch: what each byte becomes
RUN = 8  # bytes between two whose results are compared: where they are equal, those between have the same
LONG = 64  # classes from which on a row has fewer bytes that are not rounded to nothing than elements


def _long(call: Call, chip: Chip | None) -> No | None:
    refused = _float32(call, chip)
    if refused is None and int(call.params["classes"]) < LONG:
        return No(f"fewer than {LONG} classes")
    return refused


def _steps(call: Call) -> int:
    return STEPS


def _runs(call: Call) -> Mapping[str, Any]:
    """run: bytes between the two that are compared; wide: whether a quotient may be beyond 2^21."""
    return {"run": RUN, "wide": float(call.params["factor"][:-1]) > 2.0**21}


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
        Kernel("softmax_steps", "softmax/steps.c.j2", _long, _steps, _runs, in_place=True),
        Kernel("softmax_float32", "softmax/float32.c.j2", _float32, no_scratch, _no_context, in_place=True),
        Kernel("softmax_table", "softmax/softmax.c.j2", _integers, no_scratch, no_context, in_place=True),
        Kernel("softmax_log", "softmax/log.c.j2", _log, no_scratch, _no_context, in_place=True),
    ),
)
