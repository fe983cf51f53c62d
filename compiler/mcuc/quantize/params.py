"""Scales and zero points, integer weights and biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mcuc.ir import Array, Quant
from mcuc.quantize.ranges import STEPS, TINY, Range

WEIGHT_PEAK = 127  # symmetric, so that the zero point is 0
MOST_BIAS = 2**30  # leaves room for the products beside it in 32 bits
BIAS_STEPS = 2**22  # an output step of int8 is then some 2^14 of them, and int16 activations' 128 times as many fit
WIDE_PEAK = 32767
UNIT = Quant((1 / 32768,), (0,))  # of int16 sigmoid, tanh and softmax, as TFLite fixes it
_UNIT_BEFORE = (Quant((1 / 256,), (-128,)), Quant((1 / 128,), (0,)))  # theirs in int8


@dataclass(frozen=True, eq=False)
class Weights:
    """Integer weights in the file's order; axis: of the output channels, None where all have one scale."""

    values: Array
    scale: Array
    axis: int | None

    @property
    def real(self) -> Array:
        """What they stand for, float32."""
        shape = [1] * self.values.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        return np.asarray(self.values * self.scale.reshape(shape), np.float32)


def activation_quant(reach: Range, fixed: tuple[float, int] | None = None) -> Quant:
    """Scale (float32, as model files hold it) and zero point of int8 values that cover the range with 0 exact."""
    if fixed is not None:
        return Quant((float(np.float32(fixed[0])),), (fixed[1],))
    scale = float(np.float32((reach.high - reach.low) / STEPS))
    if scale < TINY:  # a dead value: any scale is right
        return Quant((1.0,), (-128,))
    return Quant((scale,), (int(np.clip(round(-128 - reach.low / scale), -128, 127)),))


def wide_quant(quant: Quant, peaks: Mapping[Quant, float]) -> Quant:
    """The int16 quantization with zero point 0 (TFLite's 16x8) of a value that has this one in int8.

    peaks: the largest magnitude of values of an int8 quantization, where it is known to lie beyond what that covers.
    """
    if quant in _UNIT_BEFORE:
        return UNIT
    scale, zero = quant.scale[0], quant.zero_point[0]
    peak = max(scale * (zero + 128), scale * (127 - zero), peaks.get(quant, 0.0))
    return Quant((float(np.float32(peak / WIDE_PEAK)),), (0,))


def weight_scale(real: Array, axis: int | None, peak: int = WEIGHT_PEAK, least: Array | None = None) -> Array:
    """float32 scales [channels], or [1] for all. least: see least_scale."""
    others = tuple(i for i in range(real.ndim) if i != axis)
    most = np.abs(real).max(axis=others if axis is not None else None, initial=0.0).reshape(-1)
    scale = np.where(most < TINY, 1.0, most / peak)
    if least is not None:
        scale = np.maximum(scale, least if axis is not None else least.max(initial=0.0))
    return np.asarray(scale, np.float32)


def least_scale(bias: Array, x: Quant) -> Array:
    """The weight scales [channels] below which a bias would take more than BIAS_STEPS: channels that hardly depend on
    the input (dead ones) have weights so small that an int32 in units of input times weight scale cannot hold it."""
    return np.abs(bias.reshape(-1).astype(np.float64)) / (x.scale[0] * BIAS_STEPS)


def nearest(real: Array, axis: int | None, scale: Array, peak: int = WEIGHT_PEAK) -> Weights:
    """The nearest integers."""
    shape = [1] * real.ndim
    if axis is not None:
        shape[axis] = -1
    return Weights(np.clip(np.rint(real / scale.reshape(shape)), -peak, peak).astype(np.int8), scale, axis)


def integer_bias(real: Array, x: Quant, weights: Weights) -> tuple[Array, Array]:
    """int32 bias [channels] and its scale, the input's times the weights' in float32."""
    scale = (np.float32(x.scale[0]) * weights.scale).astype(np.float32)
    steps = np.rint(real.astype(np.float64).reshape(-1) / scale.astype(np.float64))
    return np.clip(steps, -MOST_BIAS, MOST_BIAS).astype(np.int32), scale


@dataclass(frozen=True, eq=False)
class Scheme:
    """How a network is quantized. activations: value -> quantization; weights: by the layer's output; biases: real,
    by the layer's output; operands: other constants -> quantization; wide: values that are int16, narrow: their
    quantization in int8, for what reads them there."""

    activations: Mapping[str, Quant]
    weights: Mapping[str, Weights]
    biases: Mapping[str, Array]
    operands: Mapping[str, Quant]
    wide: frozenset[str] = frozenset()
    narrow: Mapping[str, Quant] = field(default_factory=dict)
