"""Functions of fixed-point numbers as gemmlowp and TensorFlow Lite compute them; runtime_c/mcuc_math.h mirrors those
that the device needs.

Sources: gemmlowp fixedpoint.h (tanh, one_minus_x_over_one_plus_x), TensorFlow Lite common.h
(GetInvSqrtQuantizedMultiplierExp). Numbers are int32 held in int64; "Qn" has n integer and 31 - n fractional bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcuc.ir import Array
from mcuc.numerics import (
    I64,
    INT32_MAX,
    INT32_MIN,
    bit_length,
    fixed_exp_on_negative,
    one_over_one_plus_x,
    rounding_shift_right,
    srdhm,
    wrap32,
)

_HALF_SQRT_2 = 1518500250  # sqrt(1/2) in Q0
_FOURTH_ROOT_OF_HALF = 1805811301


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


def inverse_sqrt(values: Array) -> tuple[I64, I64]:
    """int32 values >= 0 -> (Q31 multiplier, left shift <= 0) of 1 / sqrt(value); 0 counts as 1.

    Newton's method from 1, five steps: off by less than 2^-19 of the result.
    """
    v = np.asarray(values, np.int64)
    small = v <= 1
    v = np.where(small, 4, v)
    down = np.maximum(bit_length(v) - 28, 0) // 2  # to below 2^29
    v = v >> (2 * down)
    pairs = (31 - bit_length(v)) // 2 - 1
    right = 11 + down - pairs
    q3 = (v << (2 * pairs)) >> 1
    half = (q3 + 1) >> 1
    x = np.full_like(q3, 1 << 28)
    for _ in range(5):
        cube = saturating_left_shift(srdhm(srdhm(x, x), x), 6)
        x = saturating_left_shift(srdhm(x, (1 << 28) + (1 << 27)) - srdhm(half, cube), 3)
    x = srdhm(x, _HALF_SQRT_2)
    multiplier = np.where(small, INT32_MAX, x << np.maximum(-right, 0))
    return multiplier, np.where(small, 0, -np.maximum(right, 0))


def log_from_one(a: I64) -> I64:
    """The natural logarithm of a >= 1 in Q12 (its sum of exponentials), in Q5.

    TensorFlow Lite's log_x_for_x_greater_than_or_equal_to_1_impl: a power of two and a half taken out, then a rational
    function around the fourth root of 1/2.
    """
    quarter = np.int64(1) << 23  # Q6
    free_a = 32 - bit_length(a)
    r_a = saturating_left_shift(srdhm(a << (free_a - 1), _HALF_SQRT_2), 1)
    z_b = srdhm(a, _HALF_SQRT_2)
    free_b = 31 - bit_length(z_b)
    r_b = np.minimum(a << free_b, INT32_MAX)
    power = np.maximum(((12 - free_a) << 25) + quarter, ((12 - free_b) << 25) - quarter)
    r = np.minimum(r_a, r_b)
    p = rounding_half_sum(r, _FOURTH_ROOT_OF_HALF)
    q = 2 * (r - _FOURTH_ROOT_OF_HALF)
    square = srdhm(q, q)
    top = srdhm(q, r) + srdhm(srdhm(q, square), 117049297)  # 11/240 * 2^(1/4)
    inner = 1057819769 + q + srdhm(square, 127690142)  # 2^(3/4) - 2^(1/4), 1/20 * 2^(1/4)
    bottom = srdhm(p, inner) + srdhm(q, 638450708)  # 1/4 * 2^(1/4)
    fraction = srdhm(rounding_shift_right(top, 6), one_over_one_plus_x(bottom))
    return saturating_left_shift(srdhm(power, 1488522236) + fraction, 1)  # log(2)


@dataclass(frozen=True)
class LogSoftmax:
    """exps: exp(-d * scale) for d = 0..255 in Q0; diffs: the logarithms of these, 2^shift a step of the output.
    factor: what turns a logarithm in Q5 into such, in Q5 itself."""

    exps: tuple[int, ...]
    diffs: tuple[int, ...]
    factor: int
    shift: int
    zero_point: int


def log_softmax(x: Array, o: LogSoftmax) -> npt.NDArray[np.int8]:
    """x int8 [..., n] -> int8, each less the logarithm of the sum of all exponentials along the last axis."""
    down = x.max(axis=-1, keepdims=True).astype(np.int64) - x
    total = rounding_shift_right(np.array(o.exps, np.int64)[down], 12).sum(axis=-1, keepdims=True)
    log = (log_from_one(total) * o.factor) >> 26
    steps = rounding_shift_right(np.array(o.diffs, np.int64)[down] - log, o.shift)
    out: npt.NDArray[np.int8] = np.clip(steps + o.zero_point, -128, 127).astype(np.int8)
    return out


@dataclass(frozen=True)
class Norm:
    """How a row of bytes is divided by its root mean square, or by its standard deviation around its mean.

    count: elements of a row. zero_point: what is taken from each byte, None for the row's mean. Squares have `fraction`
    bits behind the point and epsilon is in their units; base is the shift of a row whose squares lie in [2^27, 2^29).
    A result is (offset + normalised * gain) >> shift, of the upper 32 bits.
    """

    count: int
    zero_point: int | None
    fraction: int
    epsilon: int
    base: int
    shift: int


def normalize(x: Array, norm: Norm, gain: Array, offset: Array) -> npt.NDArray[np.int8]:
    """x int8 [rows, count], gain and offset int32 [count] -> int8 [rows, count]."""
    q = np.asarray(x, np.int64)
    total, squares = q.sum(axis=-1), (q * q).sum(axis=-1)
    if norm.zero_point is None:
        factor, center, spread = norm.count, total, norm.count * squares - total * total
    else:
        z = norm.zero_point
        factor, center, spread = 1, np.full_like(total, z), squares - z * (2 * total - norm.count * z)
    spread = np.maximum((spread << norm.fraction) + norm.epsilon, 1)
    # an even number of bits, up or down to [2^27, 2^29)
    up = np.maximum(28 - bit_length(spread) + 1, 0) // 2
    down = np.maximum(bit_length(spread) - 28, 0) // 2
    multiplier, _ = inverse_sqrt((spread << (2 * up)) >> (2 * down))
    bits = np.minimum(norm.base + up - down, 31)
    scaled = wrap32((q * factor - center[:, None]) << bits[:, None])
    normalised = (scaled * multiplier[:, None]) >> 32
    high = ((np.asarray(offset, np.int64) << 32) + normalised * np.asarray(gain, np.int64)) >> 32
    out: npt.NDArray[np.int8] = np.clip(high >> norm.shift, -128, 127).astype(np.int8)
    return out
