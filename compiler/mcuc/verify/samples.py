"""Inputs to verify on: seeded random ones, and the corners where rounding and saturation show."""

from __future__ import annotations

import numpy as np

from mcuc.ir import Array, DType, Graph, Tensor
from mcuc.numerics import quantize_float, tflite_quantize_float

_SAME_VALUES = ("reshape", "slice", "transpose", "split", "rearrange", "take", "concat", "pack")


def random_samples(graph: Graph, count: int, seed: int = 0) -> list[list[Array]]:
    """count samples, one array per model input: a uniform one, all lowest, all highest, all zero point, then uniform
    ones. The first is the same whatever the count."""
    rng = np.random.default_rng(seed)
    tensors = [(graph.tensors[n], *_bounds(graph, n)) for n in graph.inputs]
    corners = [[_constant(*t, v) for t in tensors] for v in ("low", "high", "zero")]
    uniform = [[_uniform(*t, rng) for t in tensors] for _ in range(max(1, count - len(corners)))]
    # a uniform sample first: with a count of one it is the more telling one
    return (uniform[:1] + corners + uniform[1:])[:count]


def bounds(dtype: DType) -> tuple[int, int]:
    """The lowest and highest value of an integer type, 0 and 1 of bool."""
    return dtype.limits


def _bounds(graph: Graph, name: str) -> tuple[int, int]:
    """Of an input: what its type holds; where it is indices, what lies inside the data, since the runtimes that answers
    are compared with read behind its end."""
    low, high = bounds(graph.tensors[name].dtype)
    names = {name}
    for node in graph.nodes:
        if node.op in _SAME_VALUES and node.inputs[0] in names:
            names.update(node.outputs)
        if node.op in ("gather", "gather_nd") and node.inputs[1] in names:
            shape = graph.tensors[node.inputs[0]].shape
            axes = shape[: node.attrs.depth] if node.op == "gather_nd" else (shape[node.attrs.axis],)
            low, high = 0, min(high, *(n - 1 for n in axes))
    return low, high


def _uniform(tensor: Tensor, low: int, high: int, rng: np.random.Generator) -> Array:
    kind = np.uint8 if tensor.dtype is DType.BOOL else tensor.dtype.value
    return rng.integers(low, high + 1, tensor.shape, dtype=kind).astype(tensor.dtype.value)


def _constant(tensor: Tensor, low: int, high: int, which: str) -> Array:
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
