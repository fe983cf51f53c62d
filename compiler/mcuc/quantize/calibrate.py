"""The float network in NumPy, and the ranges of its activations over calibration images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from mcuc.errors import McucError
from mcuc.quantize.ranges import STEPS as STEPS
from mcuc.quantize.ranges import Range as Range
from mcuc.search.layers import F32, FloatLayer, FloatModel, same_padding

U8 = npt.NDArray[np.uint8]
Method = Literal["minmax", "percentile", "mse"]
OnOutput = Callable[[str, F32], F32]
BINS = 2048
PERCENTILE = 0.9999


def forward(model: FloatModel, images: U8, on_output: OnOutput | None = None,
            weights: Mapping[str, F32] | None = None) -> F32:
    """The last layer's output [n, classes] for uint8 images [n, h, w, c].

    on_output sees each layer's output and returns what the next layers read. weights: replacements by layer name.
    """
    values: dict[str, F32] = {"input": images.astype(np.float32) / np.float32(255)}
    out = values["input"]
    for one in model.layers:
        out = _layer(one, [values[n] for n in one.layer.inputs], (weights or {}).get(one.layer.name, one.weight))
        if on_output is not None:
            out = on_output(one.layer.name, out)
        values[one.layer.name] = out
    return out


def _layer(one: FloatLayer, inputs: list[F32], weight: F32 | None) -> F32:
    layer, x = one.layer, inputs[0]
    if layer.op == "add":
        out = x + inputs[1]
    elif layer.op == "mean":
        out = x.mean((1, 2), dtype=np.float32)
    elif layer.op == "softmax":
        e = np.exp(x - x.max(-1, keepdims=True))
        out = e / e.sum(-1, keepdims=True)
    else:
        assert weight is not None and one.bias is not None
        out = x @ weight.T if layer.op == "fully_connected" else _convolve(x, weight, layer.op, layer.stride)
        out = out + one.bias
    out = np.maximum(out, 0) if layer.relu else out
    return np.asarray(out, np.float32)


def _convolve(x: F32, weight: F32, op: str, stride: int) -> F32:
    """Tap by tap. x [n, h, w, c]; weight [oc, k, k, c], or [1, k, k, c] for a depthwise one; SAME padding."""
    n, h, w, _ = x.shape
    k = weight.shape[1]
    top, left = same_padding(h, k, stride), same_padding(w, k, stride)
    padded = np.pad(x, ((0, 0), top, left, (0, 0)))
    oh, ow = -(-h // stride), -(-w // stride)
    depthwise = op == "depthwise_conv_2d"
    out = np.zeros((n, oh, ow, weight.shape[3] if depthwise else weight.shape[0]), np.float32)
    for ky in range(k):
        for kx in range(k):
            part = padded[:, ky:ky + (oh - 1) * stride + 1:stride, kx:kx + (ow - 1) * stride + 1:stride]
            out += part * weight[0, ky, kx] if depthwise else part @ weight[:, ky, kx].T
    return out


def observe(model: FloatModel, images: U8, method: Method) -> dict[str, Range]:
    """The range of every layer's output over uint8 images [n, h, w, c].

    minmax: all values; percentile: 99.99 % of them; mse: the range with the least squared rounding and clipping error.
    Raises McucError("bad-weights") when an output is not finite.
    """
    ranges: dict[str, Range] = {}

    def record(name: str, out: F32) -> F32:
        if not np.isfinite(out).all():
            raise McucError("bad-weights", "an activation is not finite", where=name,
                            try_this="train the network again")
        ranges[name] = _range(out, method)
        return out

    forward(model, images, record)
    return ranges


def _range(values: F32, method: Method) -> Range:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if method == "minmax" or high == low:
        return Range(low, high)
    counts, edges = np.histogram(values, BINS, (low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    if method == "percentile":
        share = np.cumsum(counts) / counts.sum()
        return Range(min(0.0, float(edges[:-1][np.argmax(share > 1 - PERCENTILE)])) if low < 0 else 0.0,
                     max(0.0, float(edges[1:][np.argmax(share >= PERCENTILE)])))
    shrinks = [i / 50 for i in range(20, 51)]
    errors = [float((counts * _error(centres, low * s, high * s)).sum()) for s in shrinks]
    best = shrinks[int(np.argmin(errors))]
    return Range(low * best, high * best)


def _error(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    """Squared clipping error, plus the mean squared rounding error (step^2 / 12) of what is inside."""
    clipped = values - np.clip(values, low, high)
    return np.where(clipped == 0, ((high - low) / STEPS) ** 2 / 12, clipped**2)
