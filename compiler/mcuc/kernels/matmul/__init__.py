"""Matmul family: a row is a matrix product, of two int8 matrices of which at least one is computed at run time.

A column of the row is a row of the left matrix, a channel a column of the right one. rows[] are the left matrix and
the right one, each whole; a constant one is the first table instead.

sum (a - za) * (b - zb) = sum (a - za) * b - zb * sum (a - za): the left operand is widened to 16 bits without its zero
point once for all channels, so that the right one is read as it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, No, always, no_scratch
from mcuc.targets import Chip

PIXELS = 2
UNIT = 4  # taps


def _dsp(call: Call, chip: Chip | None) -> No | None:
    return None if chip is not None and chip.dsp else No("needs the DSP extension")


def _units(call: Call) -> int:
    """Units of four taps, two words of widened activations each."""
    return -(-int(call.params["depth"]) // UNIT)


def _scratch(call: Call, pixels: int) -> int:
    return 2 * UNIT * _units(call) * min(pixels, call.width)


def _context(call: Call, pixels: int = 1) -> Mapping[str, Any]:
    p = call.params
    return {
        "left": "left_matrix" if p["constant"] == "left" else "rows[0]",
        "right": {"left": "rows[0]", "right": "right_matrix", "": "rows[1]"}[p["constant"]],
        "left_pixel": 1 if p["left_turned"] else p["depth"],
        "left_tap": call.width if p["left_turned"] else 1,
        "right_channel": p["depth"] if p["right_turned"] else 1,
        "right_tap": 1 if p["right_turned"] else call.channels,
        "whole": p["depth"] // UNIT,
        "rest": p["depth"] % UNIT,
        # Of a right matrix that lies by its columns a word is taps 0 and 2, 1 and 3; else they are paired in order.
        "order": (0, 2, 1, 3) if p["right_turned"] else (0, 1, 2, 3),
        "single": min(pixels, call.width) == 1,
    }


def _pairs(name: str, pixels: int, per_mac: float) -> Kernel:
    return Kernel(
        name,
        "matmul/pairs.c.j2",
        _dsp,
        partial(_scratch, pixels=pixels),
        partial(_context, pixels=pixels),
        pixels=pixels,
        per_mac=per_mac,
    )


FAMILY = Family(
    "matmul",
    (
        _pairs("matmul_pairs", PIXELS, 1.7),
        _pairs("matmul_pairs_one", 1, 2.2),
        Kernel("matmul_bytes", "matmul/bytes.c.j2", always, no_scratch, _context, per_mac=4.0),
    ),
)
