"""What every channel of every tensor can hold, by interval arithmetic over the integer graph.

A channel is an index of a tensor's last axis; its interval holds for all positions of the other axes. Each rule bounds
what the operator's integer reference computes for any inputs within theirs, so a channel whose interval is one value
holds that value whatever the network is fed. An operator without a rule can give anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod
from typing import Any

import numpy as np

from mcuc import ops
from mcuc.ir import Array, DType, Graph, Node, Requant, Tensor
from mcuc.numerics import INT32_MAX, INT32_MIN, requantize
from mcuc.ops._pool import window_fits
from mcuc.passes._tables import table_of
from mcuc.passes._weighted import KINDS, Weighted, weighted

_BYTES = (DType.INT8, DType.UINT8)


@dataclass(frozen=True, eq=False)
class Interval:
    """low, high: int64 [channels], both ends included, in the tensor's own integers."""

    low: Array
    high: Array

    @property
    def constant(self) -> Array:
        """bool [channels]: where only one value is possible."""
        return np.asarray(self.low == self.high)


Known = Mapping[str, Interval]
Layers = Mapping[str, Weighted]
Rule = Callable[[Node, Graph, Known], Interval | None]


def channels_of(tensor: Tensor) -> int:
    """The extent of the last axis."""
    return tensor.shape[-1] if tensor.shape else 1


def weighted_layers(graph: Graph) -> dict[str, Weighted]:
    """Output tensor name -> the layer that computes it, for the layers with constant weights."""
    found = {node.outputs[0]: weighted(node, graph) for node in graph.nodes if node.op in KINDS}
    return {name: layer for name, layer in found.items() if layer is not None}


def intervals(graph: Graph, layers: Layers) -> dict[str, Interval]:
    """The interval of every int8 and uint8 tensor except weights. layers: weighted_layers of the graph."""
    read = {n for node in graph.nodes for n in (node.inputs if node.op in _RULES else node.inputs[:1]) if n}
    names = (*graph.given, *(n for node in graph.nodes for n in node.outputs), *sorted(read))
    known = {n: _given(graph.tensors[n]) for n in dict.fromkeys(names) if graph.tensors[n].dtype in _BYTES}
    for node in graph.nodes:
        name = node.outputs[0]
        found = None
        if name in layers:
            found = _layer(node, layers[name], known[node.inputs[0]])
        elif node.op in _RULES and _plain(node, graph):
            found = _RULES[node.op](node, graph, known)
        if found is not None and found.low.shape == known[name].low.shape:
            known[name] = found
    return known


def _plain(node: Node, graph: Graph) -> bool:
    """Every tensor of the node is bytes along at least one axis."""
    tensors = [graph.tensors[n] for n in (*graph.runtime_inputs(node), *node.outputs)]
    return len(node.outputs) == 1 and all(t.dtype in _BYTES and t.shape and t.elements for t in tensors)


def _given(tensor: Tensor) -> Interval:
    """A constant's own range in each channel; else all that the type holds."""
    channels = channels_of(tensor)
    if tensor.data is not None and tensor.data.size:
        flat = tensor.data.reshape(-1, channels).astype(np.int64)
        return Interval(flat.min(axis=0), flat.max(axis=0))
    info = np.iinfo(tensor.dtype.value)
    return Interval(np.full(channels, info.min, np.int64), np.full(channels, info.max, np.int64))


def requantized(low: Array, high: Array, rule: Requant, zero_point: int, clamp: tuple[int, int]) -> Interval:
    """The int8 results of accumulators in [low, high] (int64 [channels]).

    Every rule is monotone in the accumulator (falling where a multiplier is negative), so the ends map to the ends,
    unless int32 wraps around: such a channel gets all that its clamp lets through.
    """
    fits = (low >= INT32_MIN) & (high <= INT32_MAX)
    if rule.rule == "tflite_double":
        left = np.maximum(np.array(rule.shift, np.int64), 0)
        fits = fits & (left < 32)
        shifted = np.where(fits, low, 0) << np.minimum(left, 31), np.where(fits, high, 0) << np.minimum(left, 31)
        fits = fits & (shifted[0] >= INT32_MIN) & (shifted[1] <= INT32_MAX)
    ends = [requantize(np.where(fits, v, 0), rule, zero_point, *clamp).astype(np.int64) for v in (low, high)]
    return Interval(
        np.where(fits, np.minimum(*ends), min(clamp)), np.where(fits, np.maximum(*ends), max(clamp))
    )


def _layer(node: Node, layer: Weighted, x: Interval) -> Interval:
    """A weighted sum is largest where positive weights meet the highest values and negative ones the lowest; this for
    every pattern of padding that occurs."""
    positive, negative = np.maximum(layer.weights, 0), np.minimum(layer.weights, 0)
    lowest, highest = (v[layer.reads] - layer.zero_point for v in (x.low, x.high))
    low = _weigh(positive, lowest) + _weigh(negative, highest)
    high = _weigh(positive, highest) + _weigh(negative, lowest)
    padding = layer.weights.sum(axis=2) * (layer.pad_value - layer.zero_point)
    inside = layer.inside.astype(np.int64)
    sums = [inside @ end.T + (1 - inside) @ padding.T + layer.bias for end in (low, high)]
    attrs = node.attrs
    return requantized(sums[0].min(axis=0), sums[1].max(axis=0), attrs.requant, attrs.output_zero_point, attrs.clamp)


def _weigh(weights: Array, values: Array) -> Array:
    """weights [outputs, taps, columns], values [outputs or 1, columns] -> [outputs, taps]; exact below 2^53."""
    if len(values) == 1:
        return np.asarray(weights.astype(np.float64) @ values[0].astype(np.float64)).astype(np.int64)
    return np.asarray((weights * values[:, None, :]).sum(axis=2))


def _table(node: Node, graph: Graph, known: Known) -> Interval | None:
    """From the results for all input values."""
    if not table_of(node):
        return None
    dtype = graph.tensors[node.inputs[0]].dtype.value
    info = np.iinfo(dtype)
    (values,) = ops.get(node.op).reference(node.attrs, [np.arange(info.min, info.max + 1).astype(dtype)])
    return _extremes(values, [known[node.inputs[0]]], int(info.min))


def _binary(node: Node, graph: Graph, known: Known) -> Interval | None:
    """From the results for all pairs of operand values."""
    if any(graph.tensors[n].dtype is not DType.INT8 for n in node.inputs):
        return None
    pair = [known[n] for n in node.inputs]
    channels = max(len(x.low) for x in pair)
    if any(len(x.low) not in (1, channels) for x in pair):
        return None
    spread = [Interval(np.broadcast_to(x.low, channels), np.broadcast_to(x.high, channels)) for x in pair]
    return _extremes(_grid(node.op, node.attrs), spread, -128)


@lru_cache(maxsize=64)
def _grid(op: str, attrs: Any) -> Array:
    """A binary operator's results for all operands -128..127: [first, second]."""
    every = np.arange(-128, 128).astype(np.int8)
    (values,) = ops.get(op).reference(attrs, [every[:, None], every[None, :]])
    return values


def _extremes(values: Array, ranges: Sequence[Interval], start: int) -> Interval:
    """Least and largest of values (one axis an operand, index 0 stands for `start`) within each channel's ranges."""
    bounds = np.stack([end - start for x in ranges for end in (x.low, x.high)], axis=1)
    cases, which = np.unique(bounds, axis=0, return_inverse=True)
    boxes = [values[tuple(slice(int(a), int(b) + 1) for a, b in case.reshape(-1, 2))] for case in cases]
    low, high = (np.array([pick(box) for box in boxes], np.int64) for pick in (np.min, np.max))
    return Interval(low[which.reshape(-1)], high[which.reshape(-1)])


def _pool(node: Node, graph: Graph, known: Known) -> Interval | None:
    """A maximum or an average of values lies between them; counted padding is one of them."""
    if window_fits(node, graph) is not None:
        return None
    x, attrs = known[node.inputs[0]], node.attrs
    low, high = x.low, x.high
    if node.op == "average_pool_2d" and attrs.count_include_pad and any(attrs.window.pad):
        low, high = np.minimum(low, attrs.pad_value), np.maximum(high, attrs.pad_value)
    return Interval(np.clip(low, *attrs.clamp), np.clip(high, *attrs.clamp))


def _float_pool(node: Node, graph: Graph, known: Known) -> Interval | None:
    """Each float32 step is monotone: the reference over images of lowest and of highest values gives the bounds."""
    if window_fits(node, graph) is not None:
        return None
    x = known[node.inputs[0]]
    cases, which = np.unique(np.stack([x.low, x.high]), axis=1, return_inverse=True)
    shape = (*graph.tensors[node.inputs[0]].shape[:3], cases.shape[1])
    planes = [np.broadcast_to(ends, shape).astype(np.int8) for ends in cases]
    found = np.concatenate([ops.get(node.op).reference(node.attrs, [p])[0].reshape(-1, shape[3]) for p in planes])
    found = found.astype(np.int64)[:, which.reshape(-1)]
    return Interval(found.min(axis=0), found.max(axis=0))


def _mean(node: Node, graph: Graph, known: Known) -> Interval:
    attrs, x, shape = node.attrs, known[node.inputs[0]], graph.tensors[node.inputs[0]].shape
    count = prod(shape[axis] for axis in attrs.axes)
    if len(shape) - 1 in attrs.axes:
        x = _all(x, channels_of(graph.tensors[node.outputs[0]]))
    low, high = (count * (end - attrs.input_zero_point) for end in (x.low, x.high))
    return requantized(low, high, attrs.requant, attrs.output_zero_point, attrs.clamp)


def _all(x: Interval, channels: int) -> Interval:
    """Every channel with what any of x can hold."""
    return Interval(np.full(channels, x.low.min()), np.full(channels, x.high.max()))


def _same(node: Node, graph: Graph, known: Known) -> Interval:
    return known[node.inputs[0]]


def _transpose(node: Node, graph: Graph, known: Known) -> Interval:
    perm, x = node.attrs.perm, known[node.inputs[0]]
    return x if perm[-1] == len(perm) - 1 else _all(x, channels_of(graph.tensors[node.outputs[0]]))


def _reshape(node: Node, graph: Graph, known: Known) -> Interval:
    """Element i of a row of the output is channel (n * row + i) mod channels of the input, for some n."""
    x = known[node.inputs[0]]
    row = channels_of(graph.tensors[node.outputs[0]])
    step = gcd(row, len(x.low))
    at = np.arange(row) % step
    return Interval(x.low.reshape(-1, step).min(axis=0)[at], x.high.reshape(-1, step).max(axis=0)[at])


def _pad(node: Node, graph: Graph, known: Known) -> Interval:
    x, value = known[node.inputs[0]], node.attrs.value
    if any(sum(pads) for pads in node.attrs.pads[:-1]):
        x = Interval(np.minimum(x.low, value), np.maximum(x.high, value))
    return Interval(*(np.pad(end, node.attrs.pads[-1], constant_values=value) for end in (x.low, x.high)))


def _concat(node: Node, graph: Graph, known: Known) -> Interval:
    parts = []
    for name, table in zip(node.inputs, node.attrs.tables, strict=True):
        x = known[name]
        parts.append(_extremes(np.roll(np.frombuffer(table, np.int8), 128), [x], -128) if table else x)
    if node.attrs.axis == len(graph.tensors[node.outputs[0]].shape) - 1:
        return Interval(np.concatenate([x.low for x in parts]), np.concatenate([x.high for x in parts]))
    return Interval(np.minimum.reduce([x.low for x in parts]), np.maximum.reduce([x.high for x in parts]))


def _slice(node: Node, graph: Graph, known: Known) -> Interval:
    attrs, x = node.attrs, known[node.inputs[0]]
    if len(attrs.size) - 1 in attrs.squeeze:
        return _all(x, channels_of(graph.tensors[node.outputs[0]]))
    at = attrs.begin[-1] + attrs.step[-1] * np.arange(attrs.size[-1])
    return Interval(x.low[at], x.high[at])


_RULES: dict[str, Rule] = {
    "add": _binary,
    "average_pool_2d": _pool,
    "clip": _table,
    "concat": _concat,
    "divide": _binary,
    "extremum": _binary,
    "logistic": _table,
    "max_pool_2d": _pool,
    "mean": _mean,
    "mul": _binary,
    "pad": _pad,
    "qlinear_add": _binary,
    "qlinear_average_pool": _float_pool,
    "qlinear_mul": _binary,
    "quantize": _table,
    "reshape": _reshape,
    "resize_nearest": _same,
    "slice": _slice,
    "squared_difference": _binary,
    "transpose": _transpose,
    "unary": _table,
}
