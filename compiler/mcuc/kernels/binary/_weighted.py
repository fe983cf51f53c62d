"""Addition as one weighted sum: (x * first + y * second + offset) >> shift, exact for all 65,536 pairs of bytes.

gemmlowp rescales both operands and then the sum, rounding three times at 20 bits beyond the result's steps; ONNX
Runtime adds in float32, rounding at every step. A sum with weights of up to 31 bits has the same results wherever no
pair lies so close to a rounding threshold that those roundings decide; all pairs are compared. Where 32 bits hold no
such weights, the sum is taken in 64. A shift that nearly all additions can have is tried first, for kernels in whose
code it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import floor, log2
from typing import Any

import numpy as np

from mcuc.ir import Array, Requant
from mcuc.kernels._base import Call, No
from mcuc.numerics import multiply_by_quantized_multiplier, requantize, round24, round_even
from mcuc.targets import Chip

_BYTES = np.arange(-128, 128, dtype=np.int64)
_NEAR = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5)  # tried around the likely weights
_CLOSE = 64  # pairs looked at first
_NARROW = (22, 23, 21, 20)  # shifts of sums of 32 bits
_KEY = ("za", "zb", "left_shift", "subtract", "ma", "sa", "mb", "sb", "mo", "so", "out_zp", "act_min", "act_max")
_STEPS = ("offset_a", "offset_b", "mul_a", "mul_b", "fixed", "fraction", "first", "out_offset", "act_min", "act_max")
Sum = tuple[int, int, int, int, bool]


def applies(call: Call, chip: Chip | None) -> No | None:
    """Refuses what is no addition, and additions that no weighted sum computes exactly."""
    if call.params["kind"] not in ("add", "qlinear_add"):
        return No("not an addition")
    return None if _found(call) is not None else No("no weighted sum is exact")


def context(call: Call) -> Mapping[str, Any]:
    """What the template names."""
    found = _found(call)
    assert found is not None
    names = ("first", "second", "offset", "shift", "wide")
    return {**dict(zip(names, found, strict=True)), "channels": call.channels}


def _found(call: Call) -> Sum | None:
    if call.params["kind"] == "qlinear_add":
        return weighted_steps(*(call.params[name] for name in _STEPS))
    return weighted(*(call.params[name] for name in _KEY))


@lru_cache(maxsize=4096)
def weighted(
    za: int, zb: int, left_shift: int, subtract: bool, ma: int, sa: int, mb: int, sb: int, mo: int, so: int,
    out_zp: int, act_min: int, act_max: int,
) -> Sum | None:
    """first, second, offset, shift and whether it takes 64 bits, for the constants of ops/add; None where no such sum
    is exact."""
    sign = -1 if subtract else 1
    scale = 2.0 ** (left_shift + so - 62) * mo
    a, b = scale * ma * 2.0**sa, sign * scale * mb * 2.0**sb
    if a == 0 and b == 0:
        return None  # the output's scale is so large that nothing is left of the inputs
    left = multiply_by_quantized_multiplier((_BYTES - za) << left_shift, ma, sa)
    right = sign * multiply_by_quantized_multiplier((_BYTES - zb) << left_shift, mb, sb)
    rule = Requant("tflite_double", (mo,), (so,))
    exact = requantize((left[:, None] + right[None]).reshape(-1, 1), rule, out_zp, act_min, act_max)
    return _search(a, b, exact.reshape(256, 256).astype(np.int64), act_min, act_max)


@lru_cache(maxsize=4096)
def weighted_steps(
    offset_a: int, offset_b: int, mul_a: int, mul_b: int, fixed: int, fraction: int, first: int, out_offset: int,
    act_min: int, act_max: int,
) -> Sum | None:
    """As `weighted` for the constants of ops/qlinear_add, an addition in float32 steps."""
    a, b = mul_a / 2**fraction, mul_b / 2**fraction
    if a == 0 and b == 0:
        return None
    scaled = np.meshgrid((_BYTES + offset_a) * mul_a, (_BYTES + offset_b) * mul_b, indexing="ij")
    total = round24(scaled[first] + round24(fixed + scaled[1 - first]))
    out = np.clip(round_even(total, fraction) - out_offset, act_min, act_max)
    return _search(a, b, out, act_min, act_max)


def _search(a: float, b: float, out: Array, act_min: int, act_max: int) -> Sum | None:
    """The constants with which a * x + b * y, near enough, gives out [256, 256] on every pair."""
    close = _close(a, b, out, act_min, act_max)
    least = min(30, floor(31 - log2((abs(a) + abs(b)) * 512 + 512)))  # where any offset fits 32 bits
    most = min(40, floor(30.9 - log2(max(abs(a), abs(b)))))
    narrow = [s for s in dict.fromkeys((*_NARROW, least)) if 128 * (abs(a) + abs(b)) * 2**s < 2**31]
    for wide, shift in (*((False, s) for s in narrow), (True, most)):
        for i in _NEAR if shift >= 1 else ():
            for j in _NEAR:
                first, second = round(a * 2**shift) + i, round(b * 2**shift) + j
                sums = first * _BYTES[:, None] + second * _BYTES[None]
                if offset_of(sums[close], out[close], shift, act_min, act_max) is None:
                    continue
                offset = offset_of(sums, out, shift, act_min, act_max)
                fits = offset is not None and (wide or abs(offset) + 128 * (abs(first) + abs(second)) < 2**31)
                if offset is not None and fits:
                    return first, second, offset, shift, wide
    return None


def _close(a: float, b: float, out: Array, act_min: int, act_max: int) -> tuple[Array, Array]:
    """Indices of the pairs that lie closest to where their result changes: most weights fail there already."""
    above = a * _BYTES[:, None] + b * _BYTES[None] - out
    least = np.where(out > act_min, above, np.inf).reshape(-1)
    most = np.where(out < act_max, above, -np.inf).reshape(-1)
    found = np.concatenate([np.argpartition(least, _CLOSE)[:_CLOSE], np.argpartition(-most, _CLOSE)[:_CLOSE]])
    first, second = np.unravel_index(found, out.shape)
    return first, second


def offset_of(sums: Array, out: Array, shift: int, act_min: int, act_max: int, far: int = 2**50) -> int | None:
    """An offset with which the sums, shifted and clamped, are the outputs; None where there is none. far: beyond all
    that a sum needs, for a side on which no output demands anything."""
    at_least = int(((out << shift) - sums).max(initial=-far, where=out > act_min))
    at_most = int((((out + 1) << shift) - 1 - sums).min(initial=far, where=out < act_max))
    return (at_least + at_most) // 2 if at_least <= at_most else None
