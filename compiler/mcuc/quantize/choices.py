"""Other integers for the weights of some layers, taken where the outputs keep what they must."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcuc.ir import Array, Quant
from mcuc.quantize.model import FloatModel
from mcuc.quantize.params import WEIGHT_PEAK, Scheme, Weights, least_scale, nearest, weight_scale
from mcuc.quantize.roles import Weighted
from mcuc.quantize.rounding import bias_shift, compensated

MOST_TAPS = 4608  # of a layer whose weights are rounded with compensation; a larger matrix takes minutes


@dataclass(frozen=True, eq=False)
class Other:
    """weights, bias: of a layer; bias None where it has none."""

    weights: Weights
    bias: Array | None


def least_for(model: FloatModel, layer: Weighted, activations: Mapping[str, Quant]) -> Array | None:
    """The least scales of a layer's weights that its bias allows, None without bias or where its input stays float."""
    x = layer.node.inputs[0]
    if not layer.bias or x not in activations:
        return None
    return least_scale(model.constants[layer.bias], activations[x])


def other(
    model: FloatModel,
    layer: Weighted,
    axis: int | None,
    moments: tuple[Array, Array],
    activations: Mapping[str, Quant],
    peak: int = WEIGHT_PEAK,
) -> Other:
    """The layer's weights with scales along an axis (None: one), rounded with compensation, and the bias for them."""
    real = model.constants[layer.weight]
    gram, mean = moments
    found = nearest(real, axis, weight_scale(real, axis, peak, least_for(model, layer, activations)), peak)
    if gram.shape[1] <= MOST_TAPS:
        found = compensated(real, layer, found, gram, peak)
    if not layer.bias:
        return Other(found, None)
    shifted = model.constants[layer.bias].reshape(-1) - bias_shift(real, layer, found, mean)
    return Other(found, shifted.astype(np.float32))


def swapped(scheme: Scheme, others: Mapping[str, Other], names: Sequence[str]) -> Scheme:
    """The scheme with the others of these layers."""
    weights = {**scheme.weights, **{n: others[n].weights for n in names}}
    biases = {n: b for n in names if (b := others[n].bias) is not None}
    return replace(scheme, weights=weights, biases={**scheme.biases, **biases})


def most(count: int, enough: Callable[[int], bool]) -> int:
    """The largest number up to `count` for which it is enough, by bisection; 0 always is."""
    low, high = 0, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low
