"""Inputs to verify on: seeded random ones, and the corners where rounding and saturation show."""

from __future__ import annotations

import numpy as np

from mcuc.ir import Array, Graph, Tensor
from mcuc.numerics import quantize_float, tflite_quantize_float


def random_samples(graph: Graph, count: int, seed: int = 0) -> list[list[Array]]:
    """count samples, one array per model input: a uniform one, all lowest, all highest, all zero point, then uniform
    ones. The first is the same whatever the count."""
    rng = np.random.default_rng(seed)
    tensors = [graph.tensors[n] for n in graph.inputs]
    corners = [[_constant(t, v) for t in tensors] for v in ("low", "high", "zero")]
    uniform = [[_uniform(t, rng) for t in tensors] for _ in range(max(1, count - len(corners)))]
    # a uniform sample first: with a count of one it is the more telling one
    return (uniform[:1] + corners + uniform[1:])[:count]


def _uniform(tensor: Tensor, rng: np.random.Generator) -> Array:
    low, high = tensor.dtype.limits
    return rng.integers(low, high, tensor.shape, dtype=tensor.dtype.value, endpoint=True)


def _constant(tensor: Tensor, which: str) -> Array:
    low, high = tensor.dtype.limits
    zero = 0 if tensor.quant is None else tensor.quant.zero_point[0]
    return np.full(tensor.shape, {"low": low, "high": high, "zero": zero}[which], tensor.dtype.value)


def quantized(graph: Graph, name: str, x: Array) -> Array:
    """A float sample of an input in its integers; integers of its own type pass through.

    Round half to even, but where the file itself quantized a float input: there by the file's profile (TFLite's
    QUANTIZE rounds half away from zero).
    """
    tensor = graph.tensors[name]
    if x.dtype.kind != "f":
        return x.astype(tensor.dtype.value)
    assert tensor.quant is not None
    low, high = tensor.dtype.limits
    rule = tflite_quantize_float if name in graph.float_inputs and graph.profile == "tflite" else quantize_float
    scale, zero_point = tensor.quant.scale[0], tensor.quant.zero_point[0]
    return rule(x, scale, zero_point, low, high).astype(tensor.dtype.value)
