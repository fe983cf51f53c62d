"""Functions of fixed-point numbers as gemmlowp and TensorFlow Lite compute them; runtime_c/mcuc_fixed.h mirrors those
that the device needs.

Sources: gemmlowp fixedpoint.h (tanh, one_minus_x_over_one_plus_x), TensorFlow Lite common.h
(GetInvSqrtQuantizedMultiplierExp). Numbers are int32 held in int64; "Qn" has n integer and 31 - n fractional bits.
"""

from __future__ import annotations

import numpy as np

from mcuc.numerics import I64, INT32_MAX, INT32_MIN, fixed_exp_on_negative, srdhm

_HALF_SQRT_2 = 1518500250  # sqrt(1/2) in Q0


def rounding_half_sum(a: I64, b: I64 | int) -> I64:
    """(a + b) / 2, half away from zero."""
    total = a + b
    return np.where(total >= 0, (total + 1) // 2, -((1 - total) // 2))


def saturating_left_shift(a: I64, bits: int) -> I64:
    """a * 2^bits, saturated to int32."""
    return np.asarray(np.clip(a << bits, INT32_MIN, INT32_MAX), np.int64)


def one_minus_x_over_one_plus_x(a: I64) -> I64:
    """a in [0, 1), Q0: (1 - a) / (1 + a) in Q0 (Newton-Raphson, three steps)."""
    half = rounding_half_sum(a, INT32_MAX)
    x = 1515870810 + srdhm(half, -1010580540)  # 48/17, -32/17 in Q2
    for _ in range(3):
        one_minus = (np.int64(1) << 29) - srdhm(half, x)
        x = x + saturating_left_shift(srdhm(x, one_minus), 2)
    return saturating_left_shift(x - (np.int64(1) << 29), 2)


def tanh(a: I64, integer_bits: int) -> I64:
    """The hyperbolic tangent of Q(integer_bits) in Q0; twice the argument is the same bits with an integer bit more."""
    positive = one_minus_x_over_one_plus_x(fixed_exp_on_negative(-np.abs(a), integer_bits + 1))
    return np.where(a == 0, 0, np.sign(a) * positive)


def inverse_sqrt(value: int) -> tuple[int, int]:
    """value (int32, >= 0) -> (Q31 multiplier, left shift <= 0) of 1 / sqrt(value); 0 counts as 1."""
    if value <= 1:
        return INT32_MAX, 0
    shift = 11
    while value >= 1 << 29:
        value //= 4
        shift += 1
    pairs = (32 - value.bit_length() - 1) // 2 - 1
    shift -= pairs
    value <<= 2 * pairs
    v = np.array(value >> 1, np.int64)  # Q3
    half = (v + 1) >> 1
    x = np.array(1 << 28, np.int64)
    for _ in range(5):
        cube = saturating_left_shift(srdhm(srdhm(x, x), x), 6)
        x = saturating_left_shift(srdhm(x, (1 << 28) + (1 << 27)) - srdhm(half, cube), 3)
    x = srdhm(x, _HALF_SQRT_2)
    if shift < 0:
        return int(x) << -shift, 0
    return int(x), -shift
