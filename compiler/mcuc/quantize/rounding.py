"""Rounding weights so that the layer's outputs, not its weights, stay close; and biases that take out the rest.

Weights are rounded one input tap after the other; the error of each is made up for by the taps not rounded yet, as far
as the calibration inputs correlate them (Frantar et al. 2022, "GPTQ", after Hassibi and Stork 1993, "Optimal Brain
Surgeon"): in closed form what AdaRound finds by gradient descent.
"""

from __future__ import annotations

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.params import WEIGHT_PEAK, Weights
from mcuc.quantize.roles import Weighted

DAMP = 0.01  # of the mean diagonal, added to it


def by_taps(real: Array, layer: Weighted) -> Array:
    """Weights as [groups, channels, taps], in the order of the moments (see Runtime.moments)."""
    groups = int(layer.node.attrs.get("group", 1)) if layer.kind == "conv" else 1
    turned = np.moveaxis(real, layer.axis, 0) if layer.kind == "dense" else real
    oc = turned.shape[0]
    return turned.reshape(groups, oc // groups, -1)


def from_taps(taps: Array, layer: Weighted, shape: tuple[int, ...]) -> Array:
    """Back to the file's order."""
    if layer.kind != "dense":
        return taps.reshape(shape)
    flat = taps.reshape(shape[layer.axis], -1)
    return np.ascontiguousarray(flat if layer.axis == 0 else flat.T).reshape(shape)


def compensated(real: Array, layer: Weighted, nearest: Weights, gram: Array, peak: int = WEIGHT_PEAK) -> Weights:
    """Integers for the weights of a conv or dense layer, with the scales of `nearest`; gram [groups, taps, taps]."""
    taps = by_taps(real.astype(np.float64), layer)
    groups, each, _ = taps.shape
    scale = np.broadcast_to(nearest.scale.astype(np.float64), (groups * each,)).reshape(groups, each)
    found = np.stack([_group(taps[g], scale[g], gram[g], peak) for g in range(groups)])
    return Weights(from_taps(found, layer, real.shape).astype(np.int8), nearest.scale, nearest.axis)


def _group(weights: Array, scale: Array, gram: Array, peak: int) -> Array:
    """weights [channels, taps], scale [channels], gram [taps, taps] -> integers [channels, taps]."""
    diagonal = np.diag(gram)
    h = gram + np.diag(np.where(diagonal <= 0, 1.0, 0.0) + DAMP * max(float(diagonal.mean()), 1e-12))
    order = np.argsort(-np.diag(h), kind="stable")
    w = weights[:, order].copy()
    inverse = np.linalg.inv(h[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    q = np.zeros_like(w)
    for t in range(w.shape[1]):
        q[:, t] = np.clip(np.rint(w[:, t] / scale), -peak, peak)
        error = (w[:, t] - q[:, t] * scale) / upper[t, t]
        w[:, t + 1 :] -= error[:, None] * upper[t, t + 1 :]
    back = np.empty_like(q)
    back[:, order] = q
    return back


def bias_shift(real: Array, layer: Weighted, weights: Weights, mean: Array) -> Array:
    """What the weights' rounding adds to each output channel on average [channels]; mean [groups, taps] of the inputs.

    To be taken off the bias: Nagel et al. 2019, section 4.2.
    """
    error = by_taps(weights.real.astype(np.float64) - real.astype(np.float64), layer)
    return np.asarray((error * mean[:, None, :]).sum(2).reshape(-1))
