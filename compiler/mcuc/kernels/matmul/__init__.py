"""Matmul family: a row is a matrix product, of two int8 matrices of which at least one is computed at run time.

A column of the row is a row of the left matrix, a channel a column of the right one. rows[] are the left matrix and
the right one, each whole; a constant one is the first table instead.

sum (a - za) * (b - zb) = sum (a - za) * b - zb * sum (a - za): the left operand is widened to 16 bits without its zero
point once for all channels, so that the right one is read as it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from mcuc.kernels._base import Call, Family, Kernel, No, always, no_scratch
from mcuc.kernels._output import LARGEST, LEAST_SCALE, values_of
from mcuc.targets import Chip

PIXELS = 2
UNIT = 4  # taps
TURNED, PLAIN = 3, 4  # columns of a group
FARTHEST = 4095  # bytes, of a load


def _dsp(call: Call, chip: Chip | None) -> No | None:
    return None if chip is not None and chip.dsp else No("needs the DSP extension")


def _products(call: Call, chip: Chip | None) -> No | None:
    """Refuses other rules than f32_rne and sums that float32, or the pairs of columns of group.c.j2, do not hold."""
    p = call.params
    if chip is None or not chip.dsp or chip.fpu == "none":
        return No("needs the DSP extension and an FPU")
    if p["rule"] != "f32_rne" or p["per_channel"] or p["bias"]:
        return No("not one float32 scale for sums without a bias")
    left, right = (max(128 + p[f"{side}_zp"], 127 - p[f"{side}_zp"]) for side in ("left", "right"))
    most = p["depth"] * left * right
    scale = float(values_of(call.tables, "scale").astype(np.int32).view(np.float32)[0])
    if most >= 1 << 24 or scale * most > LARGEST or scale < LEAST_SCALE:
        return No("sums beyond float32")
    if p["right_turned"]:
        fits = p["depth"] % UNIT == 0 and 3 * p["depth"] <= FARTHEST
    else:
        fits = p["depth"] > 1 and 2 * call.channels <= FARTHEST and p["depth"] * left * 128 < 1 << 23
    return None if fits and call.channels >= _group(call) else No("the right matrix does not fit the loop")


def _dual(call: Call, chip: Chip | None) -> No | None:
    if chip is None or chip.core != "cortex-m7":
        return No("for cores that issue two instructions a cycle")
    return _products(call, chip)


def _group(call: Call) -> int:
    return TURNED if call.params["right_turned"] else PLAIN


def _unrolled(call: Call) -> int:
    """Units of four taps, where the right matrix is not turned of two."""
    depth = int(call.params["depth"])
    if call.params["right_turned"]:
        return next(n for n in (4, 3, 2, 1) if depth // UNIT % n == 0)
    return min(4, depth // 2, FARTHEST // (2 * call.channels))


def _products_context(call: Call) -> Mapping[str, Any]:
    """group: columns that the loop computes at once; loop_words: of the activations that it reads, a tap left over
    besides."""
    depth, step = int(call.params["depth"]), 2 * _unrolled(call)
    loop_words = depth if call.params["right_turned"] else depth // step * step
    return {**_context(call, PIXELS), "group": _group(call), "loop_words": loop_words}


def _helpers(call: Call, dual: bool) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """The loop over groups of columns of two rows. dual: for cores that issue two instructions a cycle."""
    p, unrolled = call.params, _unrolled(call)
    values = {
        "turned": p["right_turned"],
        "depth": p["depth"],
        "tap": 1 if p["right_turned"] else call.channels,
        "rest": p["depth"] % (2 * unrolled),
        "unrolled": unrolled,
        "clamp": (p["act_min"], p["act_max"]),
        "dual": dual,
    }
    return {} if call.width == 1 else {"two": ("matmul/group.c.j2", values)}


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
        "group": 0,
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


def _groups(name: str, applies: Callable[[Call, Chip | None], No | None], dual: bool) -> Kernel:
    return Kernel(
        name,
        "matmul/pairs.c.j2",
        applies,
        partial(_scratch, pixels=PIXELS),
        _products_context,
        helpers=partial(_helpers, dual=dual),
        pixels=PIXELS,
        per_mac=1.3,
    )


FAMILY = Family(
    "matmul",
    (
        _groups("matmul_products_dual", _dual, True),
        _groups("matmul_products", _products, False),
        _pairs("matmul_pairs", PIXELS, 1.7),
        _pairs("matmul_pairs_one", 1, 2.2),
        Kernel("matmul_bytes", "matmul/bytes.c.j2", always, no_scratch, _context, per_mac=4.0),
    ),
)
