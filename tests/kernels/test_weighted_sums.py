"""Additions as one weighted sum and products as one multiplication equal their rules for all pairs of bytes."""

from __future__ import annotations

import numpy as np
import pytest

from mcuc.ir import Requant
from mcuc.kernels.binary._product import scaled
from mcuc.kernels.binary._weighted import Sum, weighted, weighted_steps
from mcuc.numerics import quantize_multiplier
from mcuc.ops import mul, qlinear_add, qlinear_mul
from mcuc.ops._qlinear import fixed_point, fraction_bits
from mcuc.ops.add import reference
from mcuc.ops.add.attrs import LEFT_SHIFT, AddAttrs
from mcuc.ops.mul.attrs import MulAttrs
from mcuc.ops.qlinear_add.attrs import QLinearAddAttrs
from mcuc.ops.qlinear_mul.attrs import QLinearMulAttrs

EVERY = np.arange(-128, 128, dtype=np.int8)


def checked(scales: tuple[float, float, float], zeros: tuple[int, int, int], clamp: tuple[int, int],
            subtract: bool) -> bool:
    """Whether there is a sum, after comparing it with ops/add on every pair."""
    twice = 2 * max(scales[:2])
    rules = [quantize_multiplier(s / twice) for s in scales[:2]]
    last = quantize_multiplier(twice / ((1 << LEFT_SHIFT) * scales[2]))
    (ma, sa), (mb, sb), (mo, so) = *rules, last
    found = weighted(zeros[0], zeros[1], LEFT_SHIFT, subtract, ma, sa, mb, sb, mo, so, zeros[2], *clamp)
    if found is None:
        return False
    first, second, offset, shift, wide = found
    sums = first * EVERY.astype(np.int64)[:, None] + second * EVERY.astype(np.int64)[None] + offset
    assert wide or (np.abs(sums) < 2**31).all()
    assert max(abs(first), abs(second)) < 2**31
    requants = tuple(Requant("tflite_double", (m,), (s,)) for m, s in (*rules, last))
    attrs = AddAttrs(zeros[:2], requants[:2], requants[2], zeros[2], clamp, subtract)  # type: ignore[arg-type]
    a, b = np.meshgrid(EVERY, EVERY, indexing="ij")
    assert (np.clip(sums >> shift, *clamp) == reference(attrs, (a, b))[0]).all()
    return True


@pytest.mark.parametrize("subtract", [False, True])
def test_nearly_every_addition_has_one(subtract: bool) -> None:
    rng = np.random.default_rng(5)
    found = []
    for n in range(60):
        a, b = 2.0 ** rng.uniform(-7, -3, 2)
        y = (a + b) * 2.0 ** rng.uniform(-2, 0.5)
        clamp = ((-128, 127), (-128, 60), (-17, 127))[n % 3]
        found.append(checked((a, b, y), tuple(rng.integers(-128, 128, 3).tolist()), clamp, subtract))
    assert found.count(False) <= 3


def test_equal_powers_of_two_tie_and_are_compared_all_the_same() -> None:
    assert checked((0.5, 0.5, 1.0), (0, 0, 0), (-128, 127), False)
    assert checked((0.25, 0.25, 0.25), (3, -7, 1), (-128, 127), False)


def test_inputs_whose_multipliers_are_zero_keep_the_rule() -> None:
    """An output scale so large that nothing of either input is left."""
    assert quantize_multiplier(1e-12) == (0, 0)
    half = quantize_multiplier(0.5)
    assert weighted(0, 0, LEFT_SHIFT, False, *half, *half, 0, 0, 0, -128, 127) is None


A, B = np.meshgrid(EVERY, EVERY, indexing="ij")
CLAMPS = ((-128, 127), (-128, 60), (-17, 127))


def sum_of(found: Sum) -> np.ndarray:
    first, second, offset, shift, wide = found
    sums = A.astype(np.int64) * first + B.astype(np.int64) * second + offset
    assert wide or (np.abs(sums) < 2**31).all()
    return sums >> shift


def test_nearly_every_addition_in_float32_steps_has_one() -> None:
    rng, missing = np.random.default_rng(6), 0
    for n in range(40):
        scales = [float(np.float32(s)) for s in 2.0 ** rng.uniform(-6, 1, 2)]
        bits = max(fraction_bits(s) for s in scales)
        za, zb, zy = rng.integers(0, 256, 3).tolist()
        fixed = fixed_point(float(np.float32(zy - scales[0] * za - scales[1] * zb)), bits)
        rule = (128, 128, *(fixed_point(s, bits) for s in scales), fixed, bits, n % 2, 128, *CLAMPS[n % 3])
        found = weighted_steps(*rule)
        if found is None:
            missing += 1
            continue
        attrs = QLinearAddAttrs(rule[2:4], rule[:2], fixed, bits, n % 2, 128, CLAMPS[n % 3])
        assert (np.clip(sum_of(found), *CLAMPS[n % 3]) == qlinear_add.reference(attrs, (A, B))[0]).all()
    assert missing <= 2


@pytest.mark.parametrize("steps", [False, True])
def test_nearly_every_product_is_rescaled_by_one_multiplication(steps: bool) -> None:
    rng, missing = np.random.default_rng(7), 0
    for n in range(40):
        ratio, clamp = float(np.float32(2.0 ** rng.uniform(-14, -4))), CLAMPS[n % 3]
        za, zb, zy = rng.integers(-128, 128, 3).tolist()
        if steps:
            bits = fraction_bits(ratio)
            rule: tuple[int, ...] = (fixed_point(ratio, bits), fixed_point(float(zy + 128), bits), bits, 128)
            expected = qlinear_mul.reference(QLinearMulAttrs((za, zb), *rule, clamp), (A, B))[0]
        else:
            rule = (*quantize_multiplier(ratio), zy)
            requant = Requant("tflite_double", rule[:1], rule[1:2])
            expected = mul.reference(MulAttrs((za, zb), requant, zy, clamp), (A, B))[0]
        found = scaled(za, zb, *clamp, steps, rule)
        if found is None:
            missing += 1
            continue
        scale, offset, below, shift = found
        products = (A.astype(np.int64) - za) * (B.astype(np.int64) - zb)
        sums = products * scale + np.where(products < 0, below, offset)
        assert scale < 2**31 and (np.clip(sums >> shift, *clamp) == expected).all()
    assert missing <= 2


def test_a_product_of_no_scale_at_all_keeps_the_rule() -> None:
    assert scaled(0, 0, -128, 127, False, (0, 0, 0)) is None
