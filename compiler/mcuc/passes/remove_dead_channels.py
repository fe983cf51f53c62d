"""Remove channels that always hold one value, and channels that nobody reads.

before: a = conv(x) {clamp=(-128, 127)}, channel 3 of a is -128 for every x; y = conv(a, w, b)
after:  a = conv(x) with the other channels;                                  y = conv(a, w without 3, b + folded)

Which channels are constant says interval arithmetic (_intervals). A convolution or dense layer takes a constant channel
into its bias, exactly: where its window reaches into the padding, only if the pad value contributes as much as the
constant does. Layers in between (depthwise, pools, additions ...) lose a channel on all sides at once, or not at all.
The model's inputs and outputs keep their channels, and every tensor keeps at least one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcuc import ops
from mcuc.ir import Array, DType, Graph, Node, Tensor, rebuild
from mcuc.numerics import wrap32
from mcuc.passes._channel_ties import Ties, ties, without
from mcuc.passes._intervals import Interval, channels_of, intervals, weighted_layers
from mcuc.passes._picked import picked, picked_quant, picked_requant
from mcuc.passes._weighted import CHANNEL_AXIS, KINDS, Weighted

_ABSORBING = ("conv_2d", "fully_connected")  # lose input and output channels independently of each other
MOST_CHANNELS = 1 << 20
Removed = Mapping[str, Array]  # tensor name -> bool [channels]


def remove_dead_channels(graph: Graph) -> Graph:
    """The graph without dead channels, with a note of what was saved; the same graph where there are none.

    No microcontroller holds a tensor of a million channels: such a graph stays as it is, since the analysis would take
    longer than its refusal.
    """
    if any(channels_of(t) > MOST_CHANNELS for t in graph.tensors.values()):
        return graph
    shrunk = graph
    while True:
        smaller = _once(shrunk)
        if smaller is shrunk:
            break
        shrunk = smaller
    return graph if shrunk is graph else rebuild(shrunk, shrunk.nodes, notes=(_note(graph, shrunk),))


def _note(before: Graph, after: Graph) -> str:
    (n0, macs0, bytes0), (n1, macs1, bytes1) = _size(before), _size(after)
    return (
        f"{n0 - n1:,} of {n0:,} channels are constant or unused and were folded away: "
        f"MACs {macs0:,} -> {macs1:,}, weight bytes {bytes0:,} -> {bytes1:,}"
    )


def _size(graph: Graph) -> tuple[int, int, int]:
    """Output channels of the layers with weights, MACs, bytes of the weights without biases."""
    layers = [node for node in graph.nodes if node.op in KINDS]
    channels = sum(channels_of(graph.tensors[node.outputs[0]]) for node in layers)
    macs = sum(ops.get(node.op).cost(node, graph).macs for node in graph.nodes)
    return channels, macs, sum(graph.tensors[name].bytes for name in {node.inputs[1] for node in layers})


def _once(graph: Graph) -> Graph:
    layers = weighted_layers(graph)
    known = intervals(graph, layers)
    removed = _removable(graph, layers, known)
    if not any(mask.any() for mask in removed.values()):
        return graph
    nodes: list[Node] = []
    tensors = [_shorter(graph.tensors[name], ~mask) for name, mask in removed.items() if mask.any()]
    for node in graph.nodes:
        if node.outputs[0] in layers:
            node, constants = _thin(node, graph, layers[node.outputs[0]], known, removed)
        elif node.outputs[0] in removed:
            node, constants = without(node, graph, removed)
        else:
            constants = []
        nodes.append(node)
        tensors.extend(constants)
    return rebuild(graph, nodes, tensors)


def _shorter(tensor: Tensor, keep: Array) -> Tensor:
    return replace(tensor, shape=(*tensor.shape[:-1], int(keep.sum())))


def _removable(graph: Graph, layers: Mapping[str, Weighted], known: Mapping[str, Interval]) -> dict[str, Array]:
    """The channels that go, of every run-time tensor: the largest set such that every reader of a channel either
    absorbs it or loses what it makes of it.

    Starts from all channels and takes back, until nothing changes, what a reader or a tie needs.
    """
    runtime = [n for n, t in graph.tensors.items() if t.data is None]
    removed = {n: np.ones(channels_of(graph.tensors[n]), np.bool_) for n in runtime}
    for name in (*graph.given, *graph.kept):
        if name in removed:  # an output may be a constant, which is refused later
            removed[name][:] = False
    tied: dict[str, Ties] = {}
    border: dict[str, Array] = {}
    for node in graph.nodes:
        out = node.outputs[0]
        absorbing = _absorbs(node, layers) and node.inputs[0] in removed
        found = None if absorbing or (node.op in KINDS and out not in layers) else ties(node, graph)
        if absorbing:
            border[out] = _matters_at_the_border(layers[out])
        elif found is not None:
            tied[out] = found
            _need_partners(removed[out], found)
        else:
            for name in (*graph.runtime_inputs(node), *node.outputs):
                removed[name][:] = False
    while True:
        before = sum(int(mask.sum()) for mask in removed.values())
        if before == 0:
            return removed
        for node in (*reversed(graph.nodes), *graph.nodes):
            out, source = node.outputs[0], node.inputs[0] if node.inputs else ""
            if out in border:
                removed[source] &= _absorbed(layers[out], known[source], border[out], removed[out])
            elif out in tied:
                _agree(node, tied[out], removed)
        if before == sum(int(mask.sum()) for mask in removed.values()):
            whole = next((n for n in runtime if removed[n].size and removed[n].all()), None)
            if whole is None:
                return removed
            removed[whole][0] = False  # no tensor without channels


def _absorbs(node: Node, layers: Mapping[str, Weighted]) -> bool:
    return node.op in _ABSORBING and node.outputs[0] in layers and node.attrs.groups == 1


def _need_partners(out: Array, found: Ties) -> None:
    """Output channels that come from no input channel (padding, a broadcast value) stay."""
    lonely = np.ones(len(out), np.bool_)
    for _, outs in found:
        lonely[outs] = False
    out[lonely] = False


def _agree(node: Node, found: Ties, removed: Removed) -> None:
    out = removed[node.outputs[0]]
    for name, (ins, outs) in zip(node.inputs, found, strict=False):
        if name not in removed:
            out[outs] = False  # a constant is not cut, but for an operand of _binary, which ties nothing
            continue
        if not len(ins):
            removed[name][:] = False
        stays = ~(removed[name][ins] & out[outs])
        removed[name][ins[stays]] = False
        out[outs[stays]] = False


def _matters_at_the_border(layer: Weighted) -> Array:
    """bool [outputs, columns]: where the weights over the taps in the padding add up differently from one output
    position to another, so that a constant other than the pad value cannot go into the bias."""
    sums = (layer.weights[:, ~inside].sum(axis=1) for inside in layer.inside)
    low = high = next(sums)
    for other in sums:
        low, high = np.minimum(low, other), np.maximum(high, other)
    return np.asarray(low != high)


def _absorbed(layer: Weighted, x: Interval, border: Array, lost: Array) -> Array:
    """bool [input channels]: those that the outputs which stay do not read, or read as a constant that fits into their
    biases. lost: bool [outputs]."""
    reads = layer.reads[0]
    used = (layer.weights[~lost] != 0).any(axis=(0, 1))
    uneven = border[~lost].any(axis=0) & (x.low != layer.pad_value)[reads]
    absorbed = np.ones(len(x.low), np.bool_)
    absorbed[reads[(used & ~x.constant[reads]) | uneven]] = False
    return absorbed


def _thin(node: Node, graph: Graph, layer: Weighted, known: Mapping[str, Interval],
          removed: Removed) -> tuple[Node, list[Tensor]]:
    """A layer with weights for the channels that stay; what removed inputs contribute goes into the biases."""
    source, out = node.inputs[0], node.outputs[0]
    keep, lost = ~removed[out], np.zeros(layer.weights.shape[2], np.bool_)
    if node.op != "depthwise_conv_2d" and source in removed:
        lost = removed[source][layer.reads[0]]
    if keep.all() and not lost.any():
        return node, []
    old = graph.tensors[node.inputs[1]]
    axis = CHANNEL_AXIS[node.op]
    data = np.compress(keep, graph.const(old.name), axis)
    if node.op != "depthwise_conv_2d":
        data = np.compress(~lost, data, data.ndim - 1)
    bias = wrap32(layer.bias + _contribution(layer, known[source], lost))[keep].astype(np.int32)
    kept = np.flatnonzero(keep)
    w = Tensor(f"{out}/live_weights", data.shape, old.dtype, picked_quant(old.quant, axis, kept), data, old.int4)
    b = Tensor(f"{out}/live_bias", bias.shape, DType.INT32, None, bias)
    attrs = replace(
        node.attrs,
        requant=picked_requant(node.attrs.requant, kept),
        weight_zero_point=picked(node.attrs.weight_zero_point, kept),
    )
    return replace(node, inputs=(source, w.name, b.name), attrs=attrs), [w, b]


def _contribution(layer: Weighted, x: Interval, lost: Array) -> Array:
    """int64 [outputs]: what the lost columns add to every sum. At the first pattern of padding, for it is the same at
    all others (unused columns, whose value may vary, have zero weights)."""
    values = x.low[layer.reads[0][lost]]
    inside = layer.inside[0][:, None]
    read = np.where(inside, values, layer.pad_value) - layer.zero_point
    return np.asarray((layer.weights[:, :, lost] * read).sum(axis=(1, 2)))
