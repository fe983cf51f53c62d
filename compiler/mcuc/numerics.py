"""The rounding rules, once, in integers. runtime_c/mcuc_math.h mirrors them and is tested against them.

Sources: gemmlowp fixedpoint.h (saturating rounding doubling high multiply, rounding divide by power of two,
exp and logistic on fixed point), TensorFlow Lite quantization_util.cc (QuantizeMultiplier), the reference
kernels of TensorFlow Lite Micro for the operator formulas, and IEEE 754 for the float32 rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mcuc.errors import McucError
from mcuc.ir import Array, Requant

I64 = npt.NDArray[np.int64]
INT32_MAX = 2**31 - 1
INT32_MIN = -(2**31)


MOST_FACTOR = INT32_MAX / 2  # the largest that quantize_multiplier knows


class FactorTooLarge(McucError):
    """Scales whose quotient is beyond MOST_FACTOR; the importers add at which node."""


def quantize_multiplier(real: float) -> tuple[int, int]:
    """real (>= 0) -> (Q31 multiplier, shift) with real ~ multiplier * 2^(shift - 31).

    Raises FactorTooLarge where the shift were above 30: TFLite Micro then shifts a 1 out of an int32.
    """
    if not real <= MOST_FACTOR:
        raise FactorTooLarge(
            "unsupported-quantization",
            f"the input's scale is {real:g} times the output's, 2^30 is the most",
            where="the scales of a layer",
            try_this="calibrate the model again",
        )
    if real == 0.0:
        return 0, 0
    mantissa, exponent = math.frexp(real)
    q = math.floor(mantissa * 2**31 + 0.5)  # TfLiteRound: half away from zero, mantissa is positive
    if q == 2**31:
        q //= 2
        exponent += 1
    if exponent < -31:
        return 0, 0
    return q, exponent


def divide_multiplier(multiplier: int, shift: int, count: int) -> tuple[int, int]:
    """A quantized multiplier divided by count, as TFLite's QuantizedMeanOrSum folds 1 / count into it."""
    up = min(max(count, 1).bit_length() - 1, 32, 31 + shift)
    return (multiplier << up) // max(count, 1), shift - up


def srdhm(a: Array, b: Array | int) -> I64:
    """gemmlowp SaturatingRoundingDoublingHighMul on int32 values held in int64."""
    a64 = np.asarray(a, np.int64)
    b64 = np.asarray(b, np.int64)
    product = a64 * b64
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    total = product + nudge
    high = np.where(total >= 0, total >> 31, -((-total) >> 31))  # C division truncates
    saturate = (a64 == b64) & (a64 == INT32_MIN)
    return np.where(saturate, INT32_MAX, high)


def rounding_shift_right(x: Array, exponent: Array | int) -> I64:
    """gemmlowp RoundingDivideByPOT: x / 2^exponent, half away from zero."""
    x64 = np.asarray(x, np.int64)
    e = np.asarray(exponent, np.int64)
    mask = (np.int64(1) << e) - 1
    threshold = (mask >> 1) + (x64 < 0)
    return (x64 >> e) + ((x64 & mask) > threshold)


def wrap32(x: Array) -> I64:
    """Two's complement wrap to int32, held in int64."""
    x64 = np.asarray(x, np.int64)
    return ((x64 + 2**31) & 0xFFFFFFFF) - 2**31


def multiply_by_quantized_multiplier(x: Array, multiplier: Array | int, shift: Array | int) -> I64:
    """The two-step rule of TFLite Micro: left shift, rounding doubling high multiply, rounding right shift."""
    s = np.asarray(shift, np.int64)
    left = np.maximum(s, 0)
    right = np.maximum(-s, 0)
    return rounding_shift_right(srdhm(wrap32(np.asarray(x, np.int64) << left), np.asarray(multiplier, np.int64)), right)


def round24(v: Array) -> I64:
    """Integers rounded to 24 significant bits, half to even: what float32 keeps of v * 2^e for any e."""
    v64 = np.asarray(v, np.int64)
    magnitude = np.abs(v64)
    drop = np.maximum(bit_length(magnitude) - 24, 0)
    return np.asarray(np.where(v64 < 0, -1, 1) * (_half_even(magnitude, drop) << drop), np.int64)


def round_even(v: Array, shift: Array | int) -> I64:
    """v / 2^shift for shift 0..62, half to even."""
    v64 = np.asarray(v, np.int64)
    return np.where(v64 < 0, -1, 1) * _half_even(np.abs(v64), np.asarray(shift, np.int64))


def _half_even(magnitude: I64, shift: I64) -> I64:
    low = (np.int64(1) << shift) - 1
    nudge = np.where(shift > 0, (low >> 1) + ((magnitude >> shift) & 1), 0)
    return (magnitude + nudge) >> shift


def bit_length(v: I64) -> I64:
    """Bits of non-negative integers below 2^62; 0 for 0."""
    high = np.asarray(v, np.int64) >> 31
    low = np.asarray(v, np.int64) & 0x7FFFFFFF  # both parts are exact in float64
    return np.where(high > 0, 31 + np.frexp(high.astype(np.float64))[1], np.frexp(low.astype(np.float64))[1]).astype(
        np.int64
    )


def f32_rne(acc: Array, scale: Array | float) -> I64:
    """float32(acc) * float32(scale), rounded half to even (ONNX Runtime's QLinear kernels), in integers.

    acc: int32 values; scale: positive float32. Results beyond +-2^30 are saturated there.
    """
    bits = np.asarray(scale, np.float32).view(np.uint32).astype(np.int64)
    mantissa, shift = (bits & 0x7FFFFF) | 0x800000, 150 - (bits >> 23)
    product = round24(round24(acc) * mantissa)
    rounded = np.where(shift > 62, 0, round_even(product, np.clip(shift, 0, 62)))
    huge = np.sign(product) << 30
    return np.where(shift < 0, huge, np.clip(rounded, -(1 << 30), 1 << 30))


def multiply_rounding_once(x: Array, multiplier: Array | int, shift: Array | int) -> I64:
    """x * multiplier * 2^(shift - 31), half up: the rule of LiteRT's dense reference kernels; |shift| <= 30."""
    right = 31 - np.asarray(shift, np.int64)
    product: I64 = np.asarray(x, np.int64) * np.asarray(multiplier, np.int64)
    return (product + (np.int64(1) << (right - 1))) >> right


def requantize(acc: Array, rule: Requant, zero_point: int, low: int, high: int) -> npt.NDArray[np.int8]:
    """acc [..., channels] int32 -> int8 by the node's rule, plus zero point, clamped to [low, high]."""
    if rule.rule == "tflite_double":
        scaled = multiply_by_quantized_multiplier(acc, np.array(rule.multiplier), np.array(rule.shift))
    elif rule.rule == "tflite_single":
        scaled = multiply_rounding_once(acc, np.array(rule.multiplier), np.array(rule.shift))
    else:
        scaled = f32_rne(acc, np.array(rule.scale, np.float32))
    return np.clip(scaled + zero_point, low, high).astype(np.int8)


def step_of(v: Array, steps: Sequence[int]) -> npt.NDArray[np.int8]:
    """How many of 255 ascending thresholds v reaches, less 128: any monotone function of v to int8."""
    reached = np.searchsorted(np.array(steps, np.int64), v, side="right")
    return np.asarray(reached - 128).astype(np.int8)


def tflite_requant(input_scale: float, weight_scales: tuple[float, ...], output_scale: float) -> Requant:
    """The per-channel multipliers that TFLite computes in double precision from float32 scales."""
    pairs = [quantize_multiplier(input_scale * w / output_scale) for w in weight_scales]
    return Requant("tflite_double", tuple(m for m, _ in pairs), tuple(s for _, s in pairs))


def quantize_float(x: Array, scale: float, zero_point: int, low: int = -128, high: int = 127) -> I64:
    """Host quantization of a float sample: round half to even of x / scale, plus zero point, saturated."""
    return np.asarray(np.clip(np.rint(np.asarray(x, np.float64) / scale) + zero_point, low, high), np.int64)


def tflite_quantize_float(x: Array, scale: float, zero_point: int, low: int = -128, high: int = 127) -> I64:
    """What TFLite's QUANTIZE makes of floats: x / scale in float32, half away from zero, plus zero point, saturated."""
    real = (np.asarray(x, np.float32) / np.float32(scale)).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(real) + 0.5), real)
    steps: I64 = np.clip(rounded + zero_point, low, high).astype(np.int64)
    return steps


def fixed_exp_on_negative(a: I64, integer_bits: int) -> I64:
    """gemmlowp exp_on_negative_values: a <= 0 in Q(integer_bits), result in Q0 (31 fractional bits)."""
    fraction = 31 - integer_bits
    one_quarter = np.int64(1) << (fraction - 2)
    mask = one_quarter - 1
    a_mod = (a & mask) - one_quarter
    # Rescale to Q0: exponent integer_bits, saturating left shift (the value fits by construction).
    x = a_mod << integer_bits
    result = _exp_between_minus_quarter_and_zero(x)
    remainder = a_mod - a
    multipliers = (
        (-2, 1672461947),
        (-1, 1302514674),
        (0, 790015084),
        (1, 290630308),
        (2, 39332535),
        (3, 720401),
        (4, 242),
    )
    for exponent, multiplier in multipliers:
        if integer_bits > exponent:
            bit = np.int64(1) << (fraction + exponent)
            result = np.where(remainder & bit, srdhm(result, multiplier), result)
    if integer_bits > 5:
        result = np.where(a < -(np.int64(1) << (fraction + 5)), 0, result)
    return np.where(a == 0, INT32_MAX, result)


def _exp_between_minus_quarter_and_zero(a: I64) -> I64:
    """gemmlowp: exp on [-1/4, 0), Q0, Taylor around -1/8."""
    constant_term = 1895147668
    one_third = 715827883
    x = a + (np.int64(1) << 28)
    x2 = srdhm(x, x)
    x3 = srdhm(x2, x)
    x4 = srdhm(x2, x2)
    x4_over_4 = rounding_shift_right(x4, 2)
    x4_24_x3_6_x2_2 = rounding_shift_right(srdhm(x4_over_4 + x3, one_third) + x2, 1)
    return wrap32(constant_term + srdhm(np.full_like(x, constant_term), x + x4_24_x3_6_x2_2))


def one_over_one_plus_x(a: I64) -> I64:
    """gemmlowp one_over_one_plus_x_for_x_in_0_1: a in Q0, 1 / (1 + a) in Q0 (Newton-Raphson, three steps)."""
    total = a + INT32_MAX
    half_denominator = np.where(total >= 0, (total + 1) // 2, -((1 - total) // 2))  # RoundingHalfSum
    x = 1515870810 + srdhm(half_denominator, -1010580540)  # 48/17, -32/17 in Q2
    for _ in range(3):
        half_times_x = srdhm(half_denominator, x)
        one_minus = (np.int64(1) << 29) - half_times_x
        # x * one_minus is Q4; back to Q2 by a saturating left shift of 2.
        x = x + np.clip(srdhm(x, one_minus) << 2, INT32_MIN, INT32_MAX)
    # Q2 halved is Q1 with the same bits (ExactMulByPot<-1>); back to Q0 by a saturating left shift of 1.
    return np.asarray(np.clip(x << 1, INT32_MIN, INT32_MAX), np.int64)


def logistic_table(input_scale: float, input_zero_point: int) -> bytes:
    """256 int8 results of TFLite Micro's int8 LOGISTIC (output scale 1/256, zero point -128), by unsigned byte."""
    fraction = 31 - 4
    multiplier, shift = quantize_multiplier(input_scale * (1 << fraction))
    radius = math.floor((((1 << 4) - 1) * 2.0 ** (31 - 4)) / 2.0**shift)
    centred = np.arange(-128, 128, dtype=np.int64) - input_zero_point
    scaled = multiply_by_quantized_multiplier(centred, multiplier, shift)
    negative_abs = -np.abs(scaled)
    exp = fixed_exp_on_negative(negative_abs, 4)
    positive = one_over_one_plus_x(exp)
    value = np.where(scaled > 0, positive, INT32_MAX - positive)
    value = np.where(scaled == 0, 1 << 30, value)
    out = rounding_shift_right(value, 23)
    out = np.where(out == 256, 255, out) - 128
    out = np.where(centred <= -radius, -128, np.where(centred >= radius, 127, out))
    return np.roll(np.clip(out, -128, 127), -128).astype(np.int8).tobytes()


def softmax_exp_table(input_scale: float, beta: float) -> tuple[int, ...]:
    """256 values of exp(beta * scale * -d) for d = 0..255 in Q0; 0 beyond TFLite's diff_min (skipped there).

    TFLite's preparation: multiplier = min(beta * scale * 2^26, 2^31 - 1), from 2^30 on only a row's largest values
    count; diff_min = -floor(31 * 2^26 / 2^shift).
    """
    multiplier, shift = quantize_multiplier(min(beta * input_scale * (1 << 26), MOST_FACTOR))
    diff_min = -math.floor(((1 << 5) - 1) * 2.0 ** (31 - 5) / 2.0**shift)
    diff = -np.arange(256, dtype=np.int64)
    rescaled = srdhm(wrap32(diff << max(shift, 0)), multiplier)
    exp = fixed_exp_on_negative(rescaled, 5)
    return tuple(int(v) for v in np.where(diff >= diff_min, exp, 0))


def softmax(x: Array, table: tuple[int, ...]) -> npt.NDArray[np.int8]:
    """x int8 [rows, n] -> int8 probabilities, scale 1/256, zero point -128 (TFLite's int8 softmax)."""
    x64 = np.asarray(x, np.int64)
    exp = np.array(table, np.int64)[x64.max(axis=-1, keepdims=True) - x64]
    total = rounding_shift_right(exp, 12).sum(axis=-1, keepdims=True)
    bits = np.array([[33 - 1 - int(t).bit_length()] for t in total.reshape(-1)], np.int64).reshape(total.shape)
    headroom = bits  # leading zeros of a 32-bit word
    shifted = (total << headroom) - (np.int64(1) << 31)
    shifted_scale = one_over_one_plus_x(shifted)
    bits_over_unit = 12 - headroom
    exponent = bits_over_unit + 31 - 8
    unsat = rounding_shift_right(srdhm(shifted_scale, exp), np.minimum(exponent, 31))
    unsat = np.where(exponent > 31, 0, unsat)
    out = np.where(exp > 0, np.clip(unsat - 128, -128, 127), -128)
    return out.astype(np.int8)
