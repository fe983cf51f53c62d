"""The output stages of a call's tables: of one multiply (_linear.py), or ONNX Runtime's float32 product itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcuc.ir import Array, Requant
from mcuc.kernels._base import Table
from mcuc.kernels._linear import COMMON, REACH, SCALED, Linear, linear
from mcuc.numerics import requantize

MOST_KNOWN = 4096
LARGEST = 2.0**29  # steps that a product may reach, so that the zero point can be added in 32 bits
LEAST_SCALE = 2.0**-100  # products of smaller ones might not be normal numbers
_STAGE = ("bias", "multiplier", "shift", "scale")  # tables that decide the stage, besides the weights
_known: dict[bytes, Linear | None] = {}


@dataclass(frozen=True, eq=False)
class Product:
    """256 times an accumulator to clamped int8 by the rule f32_rne itself, for cores with an FPU:

        out = clamp(rint(float32(256 * acc) * (scale / 256)) + zero_point, low, high)

    It is float32(acc) * scale rounded once: no accumulator reaches 2^23, so that its float32 is exact, and so are 256
    times it and scale / 256. scale: [channels] int32, the bits of scale / 256.
    """

    scale: Array
    zero_point: int
    low: int
    high: int

    def groups(self, channels: int, of: int) -> Array:
        """[channels / of, of + 1]: the scales of a group of channels, then the zero point; zeros beyond the stage's
        channels."""
        found = np.zeros((channels // of, of + 1), np.int64)
        scales = np.zeros(channels, np.int64)
        scales[: len(self.scale)] = self.scale
        found[:, :of], found[:, of] = scales.reshape(-1, of), self.zero_point
        return found


@dataclass(frozen=True)
class Rule:
    """How the params of a multiply-accumulate call name its output stage (ops/_conv.py). own_shifts: none in common."""

    rule: str
    zero_point: int
    act_min: int
    act_max: int
    own_shifts: bool = False


def rule_of(params: Mapping[str, Any]) -> Rule:
    """The rule of a call's params."""
    p = params
    return Rule(p["rule"], p["out_zp"], p["act_min"], p["act_max"], bool(p.get("own_shifts")))


def output_stage(tables: tuple[Table, ...], rule: Rule, weights: Array) -> Linear | None:
    """The stage for int8 activations times weights [channels, taps] plus the tables' bias; None where none is exact.

    Remembered by content: the candidates of a search have many layers in common.
    """
    digest = hashlib.blake2b(repr((rule, weights.shape)).encode())
    for values in (weights, *(t.values for t in tables if t.name in _STAGE)):
        digest.update(np.ascontiguousarray(values).tobytes())
    key = digest.digest()
    if key not in _known:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[key] = _output_stage(tables, rule, weights)
    return _known[key]


def product_stage(tables: tuple[Table, ...], rule: Rule, weights: Array) -> Product | None:
    """The rule f32_rne as a stage, for int8 activations times weights [channels, taps] plus the tables' bias; None for
    other rules and where accumulators or products may be too large."""
    if rule.rule != "f32_rne":
        return None
    scale = np.broadcast_to(values_of(tables, "scale").astype(np.int32).view(np.float32), len(weights))
    reach = np.abs(_reached(tables, weights)).max(0)
    largest = float((reach * scale.astype(np.float64)).max())
    if int(reach.max()) > REACH or largest > LARGEST or scale.min() < LEAST_SCALE:
        return None
    return Product((scale / np.float32(SCALED)).view(np.int32), rule.zero_point, rule.act_min, rule.act_max)


def _reached(tables: tuple[Table, ...], weights: Array) -> tuple[Array, Array]:
    """The least and the most that each channel can sum up to."""
    bias = values_of(tables, "bias")
    low = bias + np.where(weights > 0, weights * -128, weights * 127).sum(1)
    return low, bias + np.where(weights > 0, weights * 127, weights * -128).sum(1)


def _output_stage(tables: tuple[Table, ...], rule: Rule, weights: Array) -> Linear | None:
    """Channels that are alike in all that matters are solved once."""
    low, high = _reached(tables, weights)
    every = len(weights)
    scales = [t for t in tables if t.name in ("scale", "multiplier", "shift")]
    own = [np.broadcast_to(values_of((t,), t.name), every) for t in scales]
    _, picked, back = np.unique(np.stack([low, high, *own]), axis=1, return_index=True, return_inverse=True)
    if len(picked) < every:
        low, high = low[picked], high[picked]
        tables = tuple(replace(t, values=t.values[picked]) if len(t.values) == every else t for t in tables)
    requant, scale, kink = _requant(tables, rule.rule)

    def output(acc: Array) -> Array:
        return requantize(acc, requant, rule.zero_point, rule.act_min, rule.act_max).astype(np.int64)

    kinks = np.broadcast_to(kink, len(low)).astype(np.int64)
    common = () if rule.own_shifts else COMMON
    found = linear(output, np.broadcast_to(scale, len(low)), rule.zero_point, kinks, low, high, common)
    if found is None or len(picked) == every:
        return found
    at = back.reshape(-1)
    return replace(found, shift=found.shift[at], multiplier=found.multiplier[at], offset=found.offset[at],
                   kink=found.kink[at])  # fmt: skip


def _requant(tables: tuple[Table, ...], rule: str) -> tuple[Requant, Array, Array]:
    """The rule with its scale and its kink (see _linear.py), one entry or one per channel.

    gemmlowp's second rounding takes ties away from zero, so that thresholds of negative sums lie one step of the first
    rounding, 2^31 / multiplier accumulators, further.
    """
    if rule == "f32_rne":
        bits = next(t.values for t in tables if t.name == "scale").astype(np.int32)
        scale = bits.view(np.float32)
        return Requant("f32_rne", scale=tuple(map(float, scale))), scale.astype(np.float64), np.zeros(len(scale))
    multiplier, shift = values_of(tables, "multiplier"), values_of(tables, "shift")
    double = rule == "tflite_double"
    requant = Requant(
        "tflite_double" if double else "tflite_single", tuple(multiplier.tolist()), tuple(shift.tolist())
    )
    kink = np.where(double & (shift < 0), np.rint(SCALED * 2.0**31 / np.maximum(multiplier, 1)), 0)
    return requant, multiplier * 2.0 ** (shift - 31), kink


def values_of(tables: tuple[Table, ...], name: str) -> Array:
    """The values of the table of that name, as int64."""
    return next(t.values for t in tables if t.name == name).astype(np.int64)


def signed_words(words: Array) -> Array:
    """Any integers as int32, modulo 2^32, in one dimension."""
    return (((words.reshape(-1) + 2**31) & 0xFFFFFFFF) - 2**31).astype(np.int32)
