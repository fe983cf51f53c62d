"""The output stage of one multiply is the rounding rule itself, for every accumulator that can occur."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcuc.ir import Array, Requant
from mcuc.kernels import _linear
from mcuc.kernels._base import Table
from mcuc.kernels._linear import MOST_SHIFT, REACH, SCALED, Linear, linear
from mcuc.kernels._output import Rule, _output_stage, output_stage
from mcuc.numerics import multiply_by_quantized_multiplier, quantize_multiplier, requantize

RULES = ("tflite_double", "tflite_single", "f32_rne")


def staged(stage: Linear, acc: Array) -> Array:
    """What the assembly computes of accumulators [n, channels], step by step in 32 bits."""
    v = acc * SCALED
    assert (np.abs(v) < 2**31).all()
    v = v - np.where(v < 0, stage.kink, 0)
    assert (np.abs(v) < 2**31).all()
    high = stage.offset + ((v * stage.multiplier) >> 32)
    assert (np.abs(high) < 2**31).all()
    return np.clip(high >> stage.shift, -128, 127)


def tables(rule: str, scale: Array, bias: Array) -> tuple[Requant, tuple[Table, ...]]:
    """A rule with these scales, as a requantization and as a call's tables."""
    if rule == "f32_rne":
        single = scale.astype(np.float32)
        return Requant(rule, scale=tuple(map(float, single))), (
            Table("bias", "int32_t", bias), Table("scale", "int32_t", single.view(np.int32)))
    mantissa, exponent = np.frexp(scale)
    multiplier = np.minimum(np.rint(mantissa * 2**31), 2**31 - 1).astype(np.int64)
    requant = Requant(rule, tuple(multiplier.tolist()), tuple(exponent.tolist()))  # type: ignore[arg-type]
    return requant, (Table("bias", "int32_t", bias), Table("multiplier", "int32_t", multiplier.astype(np.int32)),
                     Table("shift", "int8_t", exponent.astype(np.int8)))


def reachable(weights: Array, bias: Array) -> tuple[Array, Array]:
    """The least and the most that each channel can sum up to."""
    ends = np.stack([weights * -128, weights * 127])
    return bias + ends.min(0).sum(1), bias + ends.max(0).sum(1)


def wrong(rule: str, scale: Array, bias: Array, weights: Array, zero: int, clamp: tuple[int, int]) -> int | None:
    """How many reachable accumulators the stage gets wrong, of all or of a dense sample; None where there is no stage.
    """
    requant, found = tables(rule, scale, bias)
    stage = output_stage(found, Rule(rule, zero, *clamp), weights)
    if stage is None:
        return None
    low, high = reachable(weights, bias)
    steps = np.linspace(0, 1, 200_001)[:, None]
    acc = np.unique(np.rint(low + (high - low) * steps).astype(np.int64), axis=0)
    acc = np.concatenate([acc, np.clip(acc[:2000] * 0 + np.arange(-1000, 1000)[: len(acc[:2000]), None], low, high)])
    return int((staged(stage, acc) != requantize(acc, requant, zero, *clamp)).sum())


@pytest.mark.slow
# float32 rounds the product to 24 bits first, so that some thresholds lie off every line.
@pytest.mark.parametrize(("rule", "most"), [("tflite_double", 1), ("tflite_single", 1), ("f32_rne", 5)])
def test_of_a_layer_without_activation_nearly_every_channel_has_a_stage(rule: str, most: int) -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(25):
        weights, bias = rng.integers(-127, 128, (1, 64)), rng.integers(-20_000, 20_001, 1)
        scale = 2.0 ** rng.uniform(-12, -6, 1)
        found.append(wrong(rule, scale, bias, weights, int(rng.integers(-128, 128)), (-128, 127)))
    assert set(found) <= {0, None}
    assert found.count(None) <= most


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rule=st.sampled_from(RULES),
    zero=st.integers(-128, 127),
    exponent=st.floats(-16, 2),
    taps=st.integers(1, 300),
    clamp=st.tuples(st.integers(-128, 127), st.integers(-128, 127)).map(lambda t: (min(t), max(t))),
)
def test_a_stage_is_never_wrong(
    seed: int, rule: str, zero: int, exponent: float, taps: int, clamp: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    weights, bias = rng.integers(-128, 128, (3, taps)), rng.integers(-(2**17), 2**17, 3)
    scale = 2.0 ** (exponent + rng.uniform(-4, 0, 3))
    assert wrong(rule, scale, bias, weights, zero, clamp) in (0, None)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_no_stage_is_lost_by_asking_first_whether_a_line_exists(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The constants are those of the search alone, or there are none."""
    rng = np.random.default_rng(7)
    layers = []
    for k in range(24):
        weights, bias = rng.integers(-127, 128, (2, 40)), rng.integers(-20_000, 20_001, 2)
        scale, zero = 2.0 ** rng.uniform(-12, -5, 2), int(rng.integers(-128, 128))
        low = (-128, zero, int(rng.integers(-128, 60)))[k % 3]  # a rectified layer's least value is its zero point
        layers.append((tables(rule, scale, bias)[1], Rule(rule, zero, low, 127), weights))
    asked = [_output_stage(*layer) for layer in layers]
    monkeypatch.setattr(_linear, "_lines_exist", lambda *_: True)
    for with_check, layer in zip(asked, layers, strict=True):
        alone = _output_stage(*layer)
        assert (with_check is None) == (alone is None)
        if with_check is not None and alone is not None:
            assert with_check.common == alone.common
            assert all(np.array_equal(getattr(with_check, n), getattr(alone, n))
                       for n in ("shift", "multiplier", "offset", "kink"))
    assert 4 < asked.count(None) < 20


def test_sums_that_do_not_fit_have_no_stage() -> None:
    weights, bias = np.full((1, 4), 127), np.array([REACH])
    _, found = tables("tflite_double", np.array([0.001]), bias)
    assert output_stage(found, Rule("tflite_double", 0, -128, 127), weights) is None


def test_shifts_are_those_that_the_kernels_hold() -> None:
    weights, bias = np.ones((2, 4), np.int64), np.zeros(2, np.int64)
    _, found = tables("tflite_double", np.array([2.0**-30, 2.0**6]), bias)
    stage = output_stage(found, Rule("tflite_double", 0, -128, 127), weights)
    assert stage is not None
    assert stage.shift.tolist() == [MOST_SHIFT, 0]


@pytest.mark.parametrize(("room", "has"), [(0, False), (100_000, True)])
def test_no_stage_leaves_32_bits_at_the_low_end_of_its_range(room: int, has: bool) -> None:
    """Below 0 the second line lies lower by the kink, for which the least accumulator must leave room."""
    weights = np.ones((1, 1024), np.int64)
    bias = np.array([room - REACH + 128 * 1024])
    assert wrong("tflite_double", np.array([1.37 * 2.0**-16]), bias, weights, 0, (-128, 127)) == (0 if has else None)


def _looked_up(rule: Requant, zero: int, table: Array, acc: Array) -> Array:
    return np.asarray(table[requantize(acc, rule, zero, -128, 127).astype(np.int64) + 128])


def test_a_change_of_scale_behind_a_convolution_has_no_stage_of_one_multiply() -> None:
    """Why QUANTIZE stays a table behind a convolution: the thresholds of two roundings, one after the other, lie on no
    line, so that no constants compute them in the convolution's output stage."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        scale, ratio = 2.0 ** rng.uniform(-9, -6), 2.0 ** rng.uniform(-1.5, 1.5)
        (first, shift), (second, more) = quantize_multiplier(scale), quantize_multiplier(ratio)
        zero, other = (int(z) for z in rng.integers(-60, 60, 2))

        rule = Requant("tflite_double", (first,), (shift,))
        steps = np.arange(-128, 128) - zero
        table = np.clip(multiply_by_quantized_multiplier(steps, second, more) + other, -128, 127)

        reach = np.array([int(rng.integers(20_000, 200_000))])
        kink = np.rint(SCALED * 2.0**31 / np.array([first])).astype(np.int64)
        both = partial(_looked_up, rule, zero, table)
        assert linear(both, np.array([scale * ratio]), other, kink, -reach, reach) is None


def test_channels_that_are_alike_have_the_stage_that_each_has_alone() -> None:
    """Solved once and copied: a layer of 24 channels of which 5 differ, and the same 5 without their copies."""
    rng = np.random.default_rng(1)
    weights, scale = rng.integers(-127, 128, (5, 30)), rng.uniform(1e-3, 2e-3, 5).astype(np.float32)
    bias, copies = rng.integers(-4000, 4000, 5), rng.integers(0, 5, 24)
    rule = Rule("f32_rne", 3, -128, 127)
    few = _output_stage(tables("f32_rne", scale, bias)[1], rule, weights)
    many = _output_stage(tables("f32_rne", scale[copies], bias[copies])[1], rule, weights[copies])
    assert few is not None and many is not None and len(set(copies)) == 5
    for name in ("shift", "multiplier", "offset", "kink"):
        assert np.array_equal(getattr(many, name), getattr(few, name)[copies]), name
