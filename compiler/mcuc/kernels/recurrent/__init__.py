"""Recurrent family: a row is one step in time, computed from an input row and from states that the step updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_scratch
from mcuc.targets import Chip


def _lstm(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] == "lstm" else No(f"a step of {call.params['kind']}, not of lstm")


def _context(call: Call) -> Mapping[str, Any]:
    return {}


FAMILY = Family("recurrent", (Kernel("recurrent_lstm", "recurrent/lstm.c.j2", _lstm, no_scratch, _context),))
