"""Convolutions, depthwise convolutions and dense layers in one form, for passes that reason about their channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mcuc.ir import Array, DType, Graph, Node
from mcuc.ops._conv import ConvAttrs, bias_or_zeros
from mcuc.ops._spatial import Window

KINDS = ("conv_2d", "depthwise_conv_2d", "fully_connected")
CHANNEL_AXIS = {"conv_2d": 0, "depthwise_conv_2d": 3, "fully_connected": 0}  # of the weights: their output channel


@dataclass(frozen=True, eq=False)
class Weighted:
    """sum over taps t and columns k of weights[o, t, k] * (x[reads[o, k]] - zero_point) + bias[o].

    weights: int64 [outputs, taps, columns], the weight zero points taken off. reads: input channel, [outputs, columns]
    or [1, columns] where all outputs read the same. inside: bool [patterns, taps], which taps lie in the input rather
    than in the padding, one row for every combination that occurs at some output position; padding reads as pad_value.
    """

    weights: Array
    bias: Array
    reads: Array
    inside: Array
    zero_point: int
    pad_value: int


def weighted(node: Node, graph: Graph) -> Weighted | None:
    """The node in that form; None for other operators, for weights that are no constants, for shapes that do not fit
    together, and where a window finds no place in the input."""
    if node.op not in KINDS or not _constant_weights(node, graph):
        return None
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    attrs: ConvAttrs = node.attrs
    raw = graph.const(node.inputs[1]).astype(np.int64)
    wzp = np.array(attrs.weight_zero_point, np.int64)
    outputs = raw.shape[CHANNEL_AXIS[node.op]]
    sizes = {wzp.size, len(attrs.requant.multiplier or attrs.requant.scale)}
    if not x.shape or not out.shape or not raw.size or out.shape[-1] != outputs or sizes - {1, outputs}:
        return None
    channels = x.shape[-1]
    inside = np.ones((1, 1), np.bool_)
    if node.op == "fully_connected":
        weights = (raw - wzp.reshape(-1, 1))[:, None, :]
        if raw.shape[1] % channels:
            return None
        reads = np.arange(raw.shape[1])[None] % channels
    else:
        if len(x.shape) != 4 or min(attrs.window.output(*x.shape[1:3])) < 1:
            return None
        inside = inside_patterns(attrs.window, x.shape[1], x.shape[2])
        if node.op == "depthwise_conv_2d":
            if outputs % channels:
                return None
            weights = np.moveaxis(raw[0] - wzp, 2, 0).reshape(outputs, -1, 1)
            reads = (np.arange(outputs) // (outputs // channels))[:, None]
        else:
            width, groups = raw.shape[3], attrs.groups
            if width * groups != channels or outputs % groups:
                return None
            weights = (raw - wzp.reshape(-1, 1, 1, 1)).reshape(outputs, -1, width)
            first = np.arange(outputs)[:, None] // (outputs // groups) * width
            reads = (first if groups > 1 else first[:1]) + np.arange(width)
    if weights.shape[1] != inside.shape[1]:
        return None
    given = node.inputs[2] if len(node.inputs) > 2 else ""
    bias = bias_or_zeros(graph.const(given) if given else None, outputs).reshape(-1)
    return Weighted(weights, bias, reads, inside, attrs.input_zero_point, attrs.pad_value)


def _constant_weights(node: Node, graph: Graph) -> bool:
    if len(node.inputs) < 2 or any(graph.tensors[n].dtype is not DType.INT8 for n in (node.inputs[0], *node.outputs)):
        return False
    w = graph.tensors[node.inputs[1]]
    rank = 2 if node.op == "fully_connected" else 4
    if w.data is None or w.dtype is not DType.INT8 or len(w.shape) != rank:
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    outputs = w.shape[CHANNEL_AXIS[node.op]]
    return not bias or (graph.tensors[bias].data is not None and graph.tensors[bias].elements == outputs)


@lru_cache(maxsize=256)
def inside_patterns(window: Window, height: int, width: int) -> Array:
    """bool [patterns, kernel height * kernel width]: the taps that lie in a height x width input, for every output
    position of another kind (corner, edge, middle ...). The array is shared and must not be written."""
    if not any(window.pad):
        return np.ones((1, window.kernel[0] * window.kernel[1]), np.bool_)
    rows, columns = (_axis_patterns(window, axis, size) for axis, size in ((0, height), (1, width)))
    both = rows[:, None, :, None] & columns[None, :, None, :]
    return np.asarray(both.reshape(len(rows) * len(columns), -1))


def _axis_patterns(window: Window, axis: int, size: int) -> Array:
    count = window.output(size, size)[axis]  # the other axis does not matter
    starts = np.arange(count) * window.stride[axis] - window.pad[axis]
    at = starts[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis]
    return np.unique((at >= 0) & (at < size), axis=0)
