"""The rounding rules of 16-bit values (TFLite's 16x8), once, in integers; tables of curves are made in float32.

runtime_c/mcuc_math.h mirrors them and is tested against them. Sources: the reference kernels of TensorFlow Lite Micro,
tensorflow/lite/kernels/internal/common.h (the sigmoid's table, LUTPopulateInt16, LUTLookup).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from mcuc.ir import Array, Requant
from mcuc.numerics import I64, bit_length, multiply_by_quantized_multiplier, wrap32

# TFLite's table of sigmoid(i / 24) with 16 fractional bits is rounded to nearest, but for these entries (bit i), which
# are one more (tensorflow/lite/kernels/internal/common.h).
_ONE_MORE = 0x800000000000000000000000000000800011009020440005c0467baefa7bd110


def sigmoid16_table() -> npt.NDArray[np.int16]:
    """256 values of sigmoid(i / 24) - 1 / 2 with 16 fractional bits, for sigmoid16 and tanh16."""
    i = np.arange(256)
    more = np.array([_ONE_MORE >> int(k) & 1 for k in i])
    table: npt.NDArray[np.int16] = (np.rint(65536 / (1 + np.exp(-i / 24))) + more - 32768).astype(np.int16)
    return table


def times_three(x: Array, shift: int) -> I64:
    """3 * x * 2^shift, half up: int16 values of scale 2^-(12 + shift) as sigmoid16 and tanh16 read them."""
    x64 = 3 * np.asarray(x, np.int64)
    return np.asarray(x64 << shift if shift >= 0 else (x64 + (1 << (-shift - 1))) >> -shift, np.int64)


def sigmoid16(x: Array) -> I64:
    """TFLite's int16 LOGISTIC: x in units of 2^-12 / 3 (see times_three), the result of 2^-15, by interpolation."""
    high = _interpolated(x, 9, 32766)
    return np.asarray(np.where(np.asarray(x) >= 0, (1 << 24) + high + 512, (1 << 24) - high + 511) >> 10, np.int64)


def tanh16(x: Array) -> I64:
    """TFLite's int16 TANH: x in units of 2^-12 / 3, the result of 2^-15, as 2 * sigmoid(2 * x) - 1."""
    high = _interpolated(x, 8, 32767)
    return np.asarray(np.where(np.asarray(x) >= 0, high + 128, 127 - high) >> 8, np.int64)


def _interpolated(x: Array, bits: int, most: int) -> I64:
    """(sigmoid - 1 / 2) of |x|, whose lowest bits lie between two entries; with 16 + bits fractional bits."""
    table = sigmoid16_table().astype(np.int64)
    magnitude = np.abs(np.asarray(x, np.int64))
    at, rest = np.minimum(magnitude >> bits, 254), magnitude & ((1 << bits) - 1)
    value = (table[at] << bits) + rest * (table[at + 1] - table[at])
    return np.asarray(np.where(magnitude >> bits >= 255, most << bits, value), np.int64)


def reduce_multiplier(multiplier: Array | int) -> I64:
    """The upper 16 bits of Q31 multipliers, rounded half up, saturated."""
    m = np.asarray(multiplier, np.int64)
    return np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)


def multiply_reduced(x: Array, multiplier: Array | int, shift: Array | int) -> I64:
    """TFLite's rule for 64-bit sums (16-bit activations): the multiplier's upper 16 bits, rounded once, half up."""
    right = 15 - np.asarray(shift, np.int64)
    product: I64 = np.asarray(x, np.int64) * reduce_multiplier(multiplier)
    return (product + (np.int64(1) << (right - 1))) >> right


def requantize16(acc: Array, rule: Requant, low: int, high: int) -> npt.NDArray[np.int16]:
    """acc [..., channels] -> int16 of zero point 0, clamped to [low, high]: 64-bit sums by "tflite_wide", sums modulo
    2^32 by "tflite_double"."""
    multiplier, shift = np.array(rule.multiplier), np.array(rule.shift)
    if rule.rule == "tflite_wide":
        scaled = multiply_reduced(acc, multiplier, shift)
    else:
        scaled = multiply_by_quantized_multiplier(wrap32(acc), multiplier, shift)
    out: npt.NDArray[np.int16] = np.clip(scaled, low, high).astype(np.int16)
    return out


def interpolation16_table(
    function: Callable[[Array], Array], x: tuple[np.float32, int], y: tuple[np.float32, int]
) -> npt.NDArray[np.int16]:
    """513 int16 entries as TFLite's LUTPopulateInt16 makes them, in float32: each sample is moved by half of what
    interpolation misses at the middle of its step. x, y: scale and zero point of the argument and of the result."""
    one, steps = np.float32(1), 512

    def ends(scale: np.float32, zero_point: int) -> tuple[np.float32, np.float32]:
        return scale * np.float32(-32768 - zero_point), scale * np.float32(32767 - zero_point)

    def rounded(v: Array) -> Array:
        return np.asarray(np.copysign(np.floor(np.abs(v) + one / 2), v), np.float32)

    (low, high), (least, most) = ends(*x), ends(*y)
    step, per_unit = (high - low) / np.float32(steps), np.float32(65536) / (most - least)

    def at(v: Array) -> Array:
        return np.asarray(function(v), np.float32) * per_unit

    i = np.arange(steps).astype(np.float32)
    sample = rounded(at(low + i * step))
    middle = rounded((at(low + (i + one) * step) + sample) / np.float32(2))
    missed = rounded((middle - rounded(at(low + i * step + step / np.float32(2)))) / np.float32(2))
    entries = np.append(sample - missed, rounded(at(np.array([high]))))
    table: npt.NDArray[np.int16] = np.clip(entries, -32768, 32767).astype(np.int16)
    return table


@cache
def exp16_table() -> npt.NDArray[np.int16]:
    """exp over [-10, 0] for lookup16, the results of 2^-15 (TFLite's int16 SOFTMAX)."""
    steps = np.float32(65535)

    def nearest(v: Array) -> Array:  # of float64, so that no processor's float32 approximation matters
        return np.exp(v.astype(np.float64))

    return interpolation16_table(nearest, (np.float32(10) / steps, 32767), (np.float32(2) / steps, 0))


@cache
def reciprocal16_table() -> npt.NDArray[np.int16]:
    """1 / (1 + x) over [0, 1] for lookup16, the results of 2^-15."""
    one, steps = np.float32(1), np.float32(65535)
    return interpolation16_table(lambda v: one / (one + v), (one / steps, -32768), (np.float32(2) / steps, 0))


def lookup16(x: Array, table: npt.NDArray[np.int16]) -> I64:
    """TFLite's LUTLookup: int16 values in [-32768, 32767], interpolated between entries 128 apart."""
    x64, entries = np.asarray(x, np.int64), table.astype(np.int64)
    at = 256 + (x64 >> 7)
    return np.asarray(entries[at] + (((entries[at + 1] - entries[at]) * (x64 & 0x7F) + 64) >> 7), np.int64)


def softmax16(x: Array, multiplier: int, shift: int) -> npt.NDArray[np.int16]:
    """x int16 [..., n] -> int16 probabilities of scale 2^-15 (TFLite's SoftmaxInt16). multiplier, shift: of
    differences, to steps of 10 / 65535."""
    x64 = np.asarray(x, np.int64)
    below = multiply_by_quantized_multiplier(x64 - x64.max(axis=-1, keepdims=True), multiplier, shift)
    exponentials = lookup16(np.clip(below + 32767, -32768, 32767), exp16_table())
    total = exponentials.sum(axis=-1, keepdims=True)
    bits = bit_length(total)  # 32 less the leading zeros
    scaled = ((total << (31 - bits)) + (1 << 13)) >> 14
    reciprocal = lookup16(np.clip(scaled - 98304, -32768, 32767), reciprocal16_table())
    right = bits - 1
    out = (exponentials * reciprocal + (np.int64(1) << (right - 1))) >> right
    shares: npt.NDArray[np.int16] = np.clip(out, 0, 32767).astype(np.int16)
    return shares


def multiply_q15(a: Array, b: Array) -> I64:
    """a * b / 2^15, half up."""
    return np.asarray((np.asarray(a, np.int64) * np.asarray(b, np.int64) + 16384) >> 15, np.int64)


def gate16(a: Array, by_a: tuple[int, int], b: Array, by_b: tuple[int, int], wide: bool = False) -> I64:
    """Two values, each requantized to int16 by a multiplier and a shift, added with saturation. wide: 64-bit sums."""
    rule = multiply_reduced if wide else multiply_by_quantized_multiplier
    parts = [np.clip(rule(x, *by), -32768, 32767) for x, by in ((a, by_a), (b, by_b))]
    return np.asarray(np.clip(parts[0] + parts[1], -32768, 32767), np.int64)
