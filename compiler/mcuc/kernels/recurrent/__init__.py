"""Recurrent family: a row is one step in time, computed from an input row and from states that the step updates.

The states' pointers come after the tables. The inner loops are those of mcuc_dot.h, with the DSP extension where the
core has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, no_scratch
from mcuc.targets import Chip

SEQUENCES = ("GRU", "LSTM", "RNN")


def _only(kind: str) -> Callable[[Call, Chip | None], No | None]:
    def applies(call: Call, chip: Chip | None) -> No | None:
        return None if call.params["kind"] == kind else No(f"a step of {call.params['kind']}, not of {kind}")

    return applies


def _sequence(call: Call, chip: Chip | None) -> No | None:
    return None if call.params["kind"] in SEQUENCES else No(f"a step of {call.params['kind']}, not a whole sequence")


def _both_states(call: Call) -> int:
    """Hidden state before and behind a step, and what the kind has besides."""
    each = {"RNN": 4, "LSTM": 8, "GRU": 8}[call.params["kind"]]
    return (each * int(call.params["units"]) + 3) & ~3


def _context(call: Call) -> Mapping[str, Any]:
    return {"size": 2 if call.params.get("wide") else 1}


FAMILY = Family(
    "recurrent",
    (
        Kernel("recurrent_lstm", "recurrent/lstm.c.j2", _only("lstm"), no_scratch, _context),
        Kernel("recurrent_lstm16", "recurrent/lstm16.c.j2", _only("lstm16"), no_scratch, _context),
        Kernel("recurrent_svdf", "recurrent/svdf.c.j2", _only("svdf"), no_scratch, _context),
        Kernel("recurrent_sequence", "recurrent/sequence.c.j2", _sequence, _both_states, _context, in_order=False),
    ),
)
