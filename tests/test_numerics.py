"""The rounding rules agree with slow exact formulas, and runtime_c/mcuc_math.h with the rules.

Small domains are exhaustive, large ones random with the corners of the domain in front.
"""

from __future__ import annotations

import itertools
import math
import subprocess
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcuc import fixed_point, numerics, numerics16
from mcuc.ir import Array, Requant
from mcuc.toolchain import build_host_executable, runtime_folder

INT32 = st.integers(-(2**31), 2**31 - 1)
CORNERS = np.array([-(2**31), -(2**31) + 1, -(2**30), -65537, -3, -2, -1, 0, 1, 2, 3, 65535, 2**24 + 1, 2**30,
                    2**31 - 2, 2**31 - 1])


def half_away(value: Fraction) -> int:
    """The nearest integer, ties away from zero."""
    return math.floor(value + Fraction(1, 2)) if value >= 0 else -math.floor(-value + Fraction(1, 2))


def half_up(value: Fraction) -> int:
    """The nearest integer, ties upwards."""
    return math.floor(value + Fraction(1, 2))


@given(INT32, INT32)
def test_high_multiply(a: int, b: int) -> None:
    """gemmlowp's nudge and truncating division together round ties upwards."""
    expected = min(half_up(Fraction(a * b, 2**31)), 2**31 - 1)
    assert expected == int(numerics.srdhm(np.array(a), np.array(b)))


@given(INT32, st.integers(0, 31))
def test_shift_rounds_half_away(x: int, exponent: int) -> None:
    assert half_away(Fraction(x, 2**exponent)) == int(numerics.rounding_shift_right(np.array(x), exponent))


@given(INT32, st.integers(2**30, 2**31 - 1), st.integers(-31, 0))
def test_two_roundings(x: int, multiplier: int, shift: int) -> None:
    high = half_up(Fraction(x * multiplier, 2**31))
    expected = half_away(Fraction(high, 2**-shift))
    assert expected == int(numerics.multiply_by_quantized_multiplier(np.array(x), multiplier, shift))


@given(st.integers(-(2**20), 2**20), st.integers(2**30, 2**31 - 1), st.integers(1, 10))
def test_left_shift_comes_first(x: int, multiplier: int, shift: int) -> None:
    expected = half_up(Fraction((x << shift) * multiplier, 2**31))
    assert expected == int(numerics.multiply_by_quantized_multiplier(np.array(x), multiplier, shift))


@given(INT32, st.integers(2**30, 2**31 - 1), st.integers(-30, 0))
def test_one_rounding(x: int, multiplier: int, shift: int) -> None:
    expected = half_up(Fraction(x * multiplier, 2**(31 - shift)))
    assert expected == int(numerics.multiply_rounding_once(np.array(x), multiplier, shift))


@given(st.floats(2.0**-30, 2.0**29))
def test_multiplier_of_a_real(real: float) -> None:
    """The mantissa has 31 bits, the value is off by half of the last one at most."""
    multiplier, shift = numerics.quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    error = abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) - Fraction(real))
    assert error <= Fraction(2) ** (shift - 32)


def test_multiplier_at_the_ends() -> None:
    assert numerics.quantize_multiplier(0.0) == (0, 0)
    assert numerics.quantize_multiplier(2.0**-40) == (0, 0)
    assert numerics.quantize_multiplier(numerics.MOST_FACTOR) == (2**31 - 1, 30)
    for real in (2.0**30, 1e38, float("inf"), float("nan")):
        with pytest.raises(numerics.FactorTooLarge):
            numerics.quantize_multiplier(real)
    assert numerics.quantize_multiplier(1 - 2.0**-40) == (2**30, 1)  # the mantissa rounds up to 1


@given(st.floats(2.0**-12, 2.0**12), st.integers(1, 100_000))
def test_divided_multiplier(real: float, count: int) -> None:
    """1 / count inside the multiplier is exact to what its two roundings leave: half a unit of at least 2^30 when the
    multiplier is made, a whole one of at least 2^29 when it is divided."""
    multiplier, shift = numerics.divide_multiplier(*numerics.quantize_multiplier(real), count)
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(real / count, rel=2.0**-29 + 2.0**-31)
    assert 0 <= multiplier < 2**31


@given(INT32, st.floats(2.0**-40, 2.0**20, width=32))
def test_float_rule(acc: int, scale: float) -> None:
    """float32(acc) * float32(scale) in IEEE arithmetic, saturated where no int8 result depends on it."""
    expected = int(np.clip(np.rint(np.float32(acc) * np.float32(scale)), -(2.0**30), 2.0**30))
    assert expected == int(numerics.f32_rne(np.array(acc), np.float32(scale)))


def test_requantize_per_channel() -> None:
    acc = np.array([[1000, 1000], [-1000, -1000]])
    rule = Requant("tflite_double", (2**30, 2**30), (-3, -20))
    assert numerics.requantize(acc, rule, 5, -50, 127).tolist() == [[68, 5], [-50, 5]]


@pytest.mark.parametrize("rule,half", [("tflite_double", [1, 1, -1, -1]), ("tflite_single", [1, 1, 0, -1])])
def test_ties_of_the_rules(rule: str, half: list[int]) -> None:
    """Accumulators 1, 2, -1, -2 times 1/2, then zero point 0: only the two-step rule moves -1/2 away from zero."""
    requant = Requant(rule, (2**30,), (0,))  # type: ignore[arg-type]
    if rule == "tflite_double":  # one half as 2^30 * 2^-31 rounds in the multiply already, upwards
        requant = Requant("tflite_double", (2**31 - 1,), (-1,))
    assert numerics.requantize(np.array([[1], [2], [-1], [-2]]), requant, 0, -128, 127).reshape(-1).tolist() == half


@pytest.mark.parametrize("scale", [2.0**-e for e in range(0, 12)] + [0.1, 0.0123, 0.37])
def test_logistic_table_is_within_a_step(scale: float) -> None:
    for zero_point in (-128, -3, 0, 127):
        table = np.roll(np.frombuffer(numerics.logistic_table(scale, zero_point), np.int8), 128)
        real = 1 / (1 + np.exp(-scale * (np.arange(-128, 128) - zero_point)))
        assert np.abs(table - np.clip(real * 256 - 128, -128, 127)).max() <= 1.0


@pytest.mark.parametrize("scale", [2.0**-e for e in range(-2, 14)] + [0.1, 0.0123])
def test_exponential_table(scale: float) -> None:
    table = np.array(numerics.softmax_exp_table(scale, 1.0))
    real = np.exp(-scale * np.arange(256)) * 2**31
    inside = scale * np.arange(256) < 31
    assert np.abs(table - real)[inside].max() < 2**31 * 2e-6
    assert (np.diff(table) <= 0).all() and table[0] == 2**31 - 1


@pytest.mark.parametrize("seed", range(5))
def test_softmax_is_within_a_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale, x = float(2.0 ** rng.uniform(-8, 0)), rng.integers(-128, 128, (50, 11)).astype(np.int8)
    real = np.exp(scale * (x - x.max(-1, keepdims=True).astype(float)))
    expected = np.clip(real / real.sum(-1, keepdims=True) * 256 - 128, -128, 127)
    assert np.abs(numerics.softmax(x, numerics.softmax_exp_table(scale, 1.0)) - expected).max() <= 1.0


def test_reciprocal() -> None:
    a = np.concatenate([np.arange(1000), np.linspace(0, 2**31 - 1, 100_001).astype(np.int64)])
    real = 2.0**31 / (1 + a / 2.0**31)
    assert np.abs(numerics.one_over_one_plus_x(a) - real).max() < 64


MIRROR = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "mcuc_math.h"
static const int16_t sigmoid[256] = { @TABLE@ };
int main(int argc, char **argv)
{
    const int which = argc > 1 ? atoi(argv[1]) : 0;
    int32_t v[3], steps[255];
    float f;
    for (int32_t k = 0; k < 255; k++) {
        steps[k] = (k - 100) * (k > 100 ? k - 100 : 3);
    }
    while (fread(v, 4, 3, stdin) == 3) {
        int32_t r = 0;
        switch (which) {
        case 0: r = mcuc_srdhm(v[0], v[1]); break;
        case 1: r = mcuc_round_shift(v[0], v[1]); break;
        case 2: r = mcuc_requant(v[0], v[1], v[2]); break;
        case 3: r = mcuc_requant_single(v[0], v[1], v[2]); break;
        case 4: r = mcuc_requant_f32(v[0], v[1]); break;
        case 5: r = mcuc_one_over_one_plus(v[0]); break;
        case 6: r = mcuc_share_of(mcuc_share(v[0]), v[1]); break;
        case 7: r = mcuc_float_to_int(mcuc_float_of(v[0])); break;
        case 8: r = mcuc_newton_root(v[0]); break;
        case 9: r = mcuc_high_mla(v[0], v[1], v[2]); break;
        case 10: r = mcuc_log_from_one(v[0]); break;
        case 11: r = mcuc_inverse_sqrt(v[0]).multiplier; break;
        case 12: r = mcuc_inverse_sqrt(v[0]).shift; break;
        case 13: r = mcuc_high_by_halves(v[0], v[1]); break;
        case 14: r = mcuc_step_of(v[0], steps); break;
        case 15: f = mcuc_dequantize(v[0], v[1]); memcpy(&r, &f, 4); break;
        case 16: r = mcuc_sigmoid16(v[0], sigmoid); break;
        case 17: r = mcuc_tanh16(v[0], sigmoid); break;
        case 18: r = mcuc_q15(v[0], v[1]); break;
        case 19: r = mcuc_requant64((int64_t)v[0] * 64, v[1], v[2]); break;
        default: return 2;
        }
        fwrite(&r, 4, 1, stdout);
    }
    return 0;
}
"""
Mirror = Callable[..., Array]


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """mirror(which, a, b, c): a function of mcuc_math.h over arrays of int32, with the sanitizers on."""
    folder = tmp_path_factory.mktemp("mirror")
    table = ", ".join(map(str, numerics16.sigmoid16_table()))
    (folder / "mirror.c").write_text(MIRROR.replace("@TABLE@", table))
    program = build_host_executable([folder / "mirror.c"], [runtime_folder()], folder / "mirror", sanitize=True)

    def run(which: int, *columns: Array) -> Array:
        full = [*columns, *[np.zeros_like(columns[0])] * (3 - len(columns))]
        data = np.stack(np.broadcast_arrays(*full), axis=-1).astype("<i4").tobytes()
        done = subprocess.run([str(program), str(which)], input=data, capture_output=True, check=True, timeout=60)
        return np.frombuffer(done.stdout, "<i4").astype(np.int64)

    return run


def pairs(seed: int, low: int, high: int, count: int = 200_000) -> tuple[Array, Array]:
    """Corner cases first, then random int32 values of all magnitudes beside integers in [low, high]."""
    rng = np.random.default_rng(seed)
    seconds = [v for v in CORNERS.tolist() if low <= v <= high] + [low, high]
    corners = np.array(list(itertools.product(CORNERS.tolist(), seconds)))
    x = rng.integers(-(2**31), 2**31, count) >> rng.integers(0, 31, count)
    y = rng.integers(low, high, count, endpoint=True)
    return np.concatenate([corners[:, 0], x]), np.concatenate([corners[:, 1], y])


def test_c_high_multiply(mirror: Mirror) -> None:
    a, b = pairs(0, -(2**31) + 1, 2**31 - 1)  # two times INT32_MIN saturates and never occurs in generated code
    assert np.array_equal(numerics.srdhm(a, b), mirror(0, a, b))


def test_c_rounding_shift(mirror: Mirror) -> None:
    x, exponent = pairs(1, 0, 31)
    assert np.array_equal(numerics.rounding_shift_right(x, exponent), mirror(1, x, exponent))


@pytest.mark.parametrize("which,rule,lowest", [(2, numerics.multiply_by_quantized_multiplier, -31),
                                               (3, numerics.multiply_rounding_once, -30)])
def test_c_requant(mirror: Mirror, which: int, rule: Callable[..., Array], lowest: int) -> None:
    x, multiplier = pairs(2, 2**30, 2**31 - 1)
    shift = np.random.default_rng(3).integers(lowest, 1, x.size)
    assert np.array_equal(rule(x, multiplier, shift), mirror(which, x, multiplier, shift))


def test_c_requant_to_the_left(mirror: Mirror) -> None:
    x, multiplier = pairs(4, 2**30, 2**31 - 1)
    shift = np.random.default_rng(5).integers(1, 12, x.size)
    x = x >> 12
    expected = numerics.multiply_by_quantized_multiplier(x, multiplier, shift)
    assert np.array_equal(expected, mirror(2, x, multiplier, shift))


def test_c_float_rule(mirror: Mirror) -> None:
    rng = np.random.default_rng(6)
    x, _ = pairs(6, 0, 1)
    scale = (2.0 ** rng.uniform(-40, 20, x.size)).astype(np.float32)
    assert np.array_equal(numerics.f32_rne(x, scale), mirror(4, x, scale.view(np.int32)))


def test_c_float_to_int(mirror: Mirror) -> None:
    """Exact below 2^21; beyond, a value on the same side that no int8 result tells apart."""
    rng = np.random.default_rng(7)
    halves = np.arange(-4096, 4097, dtype=np.float32) / 2
    f = np.concatenate([halves, rng.uniform(-(2.0**21), 2.0**21, 100_000).astype(np.float32)])
    assert np.array_equal(np.rint(f).astype(np.int64), mirror(7, f.view(np.int32)))
    big = np.array([2.0**21, 1e10, -1e10, 3e38], np.float32)
    assert (np.abs(mirror(7, big.view(np.int32))) >= 2**21).all()


def test_c_steps(mirror: Mirror) -> None:
    k = np.arange(255)
    steps = (k - 100) * np.where(k > 100, k - 100, 3)
    v = np.concatenate([CORNERS, np.arange(-400, 30_000)])
    assert np.array_equal(numerics.step_of(v, steps.tolist()).astype(int), mirror(14, v))


def test_c_dequantize(mirror: Mirror) -> None:
    rng = np.random.default_rng(10)
    steps = np.concatenate([CORNERS, rng.integers(-510, 511, 50_000)])
    scale = (2.0 ** rng.uniform(-40, 20, steps.size)).astype(np.float32)
    expected = (steps.astype(np.float32) * scale).view(np.int32)
    assert np.array_equal(expected, mirror(15, steps, scale.view(np.int32)))


def test_c_reciprocal(mirror: Mirror) -> None:
    random = np.random.default_rng(8).integers(0, 2**31, 200_000)
    a = np.concatenate([np.arange(4096), 2**31 - 1 - np.arange(4096), random])
    assert np.array_equal(numerics.one_over_one_plus_x(a), mirror(5, a))


def test_c_inverse_root(mirror: Mirror) -> None:
    """All values for which TFLite's function shifts nothing, in steps; the result is within 2^-19 of the real one."""
    a = np.concatenate([np.arange(2**27, 2**29, 1999), np.arange(2**27, 2**27 + 4096), np.arange(2**29 - 4096, 2**29)])
    multiplier, shift = fixed_point.inverse_sqrt(a)
    assert (shift == -11).all() and np.array_equal(multiplier, mirror(8, a))
    assert np.abs(multiplier * 2.0**-42 * np.sqrt(a) - 1).max() < 2.0**-19


def test_c_inverse_root_of_any_integer(mirror: Mirror) -> None:
    a = np.concatenate([np.arange(4096), np.abs(pairs(13, 0, 1)[0][20:]).clip(max=2**31 - 1)])
    multiplier, shift = fixed_point.inverse_sqrt(a)
    assert np.array_equal(multiplier, mirror(11, a)) and np.array_equal(shift, mirror(12, a))


def test_c_logarithm(mirror: Mirror) -> None:
    """From 1 to the largest sum of exponentials, 12 integer bits."""
    random = np.random.default_rng(14).integers(2**19, 2**31, 200_000)
    a = np.concatenate([np.arange(2**19, 2**19 + 4096), 2**31 - 1 - np.arange(4096), 2 ** np.arange(19, 31), random])
    assert np.array_equal(fixed_point.log_from_one(a), mirror(10, a))


def test_c_upper_half_of_a_product(mirror: Mirror) -> None:
    a, b = pairs(11, -(2**31), 2**31 - 1)
    acc = np.random.default_rng(12).integers(-(2**30), 2**30, a.size)
    assert np.array_equal(acc + ((a * b) >> 32), mirror(9, acc, a, b))
    assert np.array_equal((a * b) >> 32, mirror(13, a, b))


@pytest.mark.parametrize("scale", [0.001, 0.05, 0.3, 2.0])
def test_c_softmax(mirror: Mirror, scale: float) -> None:
    """Every difference of one vector against a crowd: the C's share of a sum equals numerics.softmax."""
    table = numerics.softmax_exp_table(scale, 1.0)
    rng = np.random.default_rng(9)
    for size in (1, 2, 7, 300, 1500):
        x = rng.integers(-128, 128, (40, size)).astype(np.int8)
        exponentials = np.array(table)[x.max(-1, keepdims=True).astype(int) - x]
        total = numerics.rounding_shift_right(exponentials, 12).sum(-1, keepdims=True)
        totals, each = np.broadcast_arrays(total, exponentials)
        found = mirror(6, totals.reshape(-1), each.reshape(-1)).reshape(x.shape)
        assert np.array_equal(numerics.softmax(x, table), found)


@pytest.mark.parametrize("which,rule,real", [(16, numerics16.sigmoid16, lambda x: (1 + np.tanh(x / 2)) / 2),
                                             (17, numerics16.tanh16, np.tanh)])
def test_sigmoid_and_tanh_of_int16(mirror: Mirror, which: int, rule: Callable[..., Array],
                                   real: Callable[..., Array]) -> None:
    """C equals the rule for all int16 values times three and far beyond, and both are near the real function."""
    x = np.concatenate([3 * np.arange(-32768, 32768), np.random.default_rng(10).integers(-(2**30), 2**30, 50_000)])
    found = rule(x)
    assert np.array_equal(found, mirror(which, x))
    assert np.abs(found / 32768 - real(x / 12288)).max() < 4 / 32768


@given(st.integers(-32768, 32767), st.integers(-6, 3))
def test_times_three_rounds_once(x: int, shift: int) -> None:
    assert half_up(Fraction(3 * x) * Fraction(2) ** shift) == int(numerics16.times_three(np.array(x), shift))


def test_c_product_of_fractions(mirror: Mirror) -> None:
    a, b = pairs(11, -(2**15), 2**15)
    expected = numerics16.multiply_q15(a, b)
    fits = np.abs(expected) < 2**31
    assert np.array_equal(expected[fits], mirror(18, a[fits], b[fits]))


def test_c_requant_of_64_bits(mirror: Mirror) -> None:
    """Of sums of up to 37 bits; beyond 2^30 the C saturates, where all that follows has saturated before."""
    x, multiplier = pairs(12, 2**30, 2**31 - 1)
    shift = np.random.default_rng(13).integers(-31, 8, x.size)
    expected = np.clip(numerics16.multiply_reduced(64 * x, multiplier, shift), -(2**30), 2**30)
    assert np.array_equal(expected, mirror(19, x, multiplier, shift))


@given(st.integers(-(2**40), 2**40), st.integers(2**30, 2**31 - 1), st.integers(-31, 7))
def test_one_rounding_by_a_reduced_multiplier(x: int, multiplier: int, shift: int) -> None:
    reduced = min(half_up(Fraction(multiplier, 2**16)), 0x7FFF)
    expected = half_up(Fraction(x * reduced) * Fraction(2) ** (shift - 15))
    assert expected == int(numerics16.multiply_reduced(np.array(x), multiplier, shift))
