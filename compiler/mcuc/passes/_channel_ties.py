"""Which channels of a node's tensors can only be removed together, and the node once some of them are gone.

A channel is an index of a tensor's last axis. Convolutions and dense layers tie nothing: they can lose input and output
channels one by one. A depthwise convolution, a pool or an addition loses a channel on all sides at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.passes._intervals import channels_of
from mcuc.passes._tables import table_of

# For each activation: pairs (channels of the input, channels of the output) of which both go or none.
Ties = tuple[tuple[Array, Array], ...]
_NONE = np.zeros(0, np.int64)
_SLICED_CONSTANTS = ("add", "divide", "extremum", "mul", "qlinear_add", "qlinear_mul", "squared_difference")


def ties(node: Node, graph: Graph) -> Ties | None:
    """For each activation the channel pairs, empty for constants; None where no channel of any tensor may be removed.

    An output channel without a partner must stay; an input channel without one is not read by this node.
    """
    rule = _RULES.get(node.op)
    tensors = [graph.tensors[n] for n in (*graph.runtime_inputs(node), *node.outputs)]
    if rule is None or any(t.dtype not in (DType.INT8, DType.UINT8) or not t.shape for t in tensors):
        return None
    return rule(node, graph)


def _channels(graph: Graph, name: str) -> int:
    return channels_of(graph.tensors[name])


def _same(node: Node, graph: Graph) -> Ties | None:
    every = np.arange(_channels(graph, node.outputs[0]))
    return ((every, every),) if _channels(graph, node.inputs[0]) == len(every) and len(node.inputs) == 1 else None


def _table(node: Node, graph: Graph) -> Ties | None:
    return _same(node, graph) if table_of(node) else None


def _depthwise(node: Node, graph: Graph) -> Ties | None:
    out = np.arange(_channels(graph, node.outputs[0]))
    multiplier = len(out) // _channels(graph, node.inputs[0])
    return ((out // multiplier, out),)


def _binary(node: Node, graph: Graph) -> Ties | None:
    """An operand with one channel for all of the output's stays whole."""
    every = np.arange(_channels(graph, node.outputs[0]))
    found: list[tuple[Array, Array]] = []
    for name in node.inputs:
        tensor = graph.tensors[name]
        if tensor.data is None and channels_of(tensor) == len(every):
            found.append((every, every))
        elif channels_of(tensor) in (1, len(every)):
            found.append((_NONE, _NONE))
        else:
            return None
    return tuple(found)


def _mean(node: Node, graph: Graph) -> Ties | None:
    rank = len(graph.tensors[node.inputs[0]].shape)
    return None if rank - 1 in node.attrs.axes else _same(node, graph)


def _transpose(node: Node, graph: Graph) -> Ties | None:
    return _same(node, graph) if node.attrs.perm[-1] == len(node.attrs.perm) - 1 else None


def _reshape(node: Node, graph: Graph) -> Ties | None:
    """Whole rows of channels behind one another in one row of the output, or the other way round."""
    inner, outer = _channels(graph, node.inputs[0]), _channels(graph, node.outputs[0])
    every = np.arange(max(inner, outer))
    if len(node.inputs) != 1 or min(inner, outer) < 1 or len(every) % min(inner, outer):
        return None
    return ((every % inner, every % outer),)


def _pad(node: Node, graph: Graph) -> Ties | None:
    channels = np.arange(_channels(graph, node.inputs[0]))
    return ((channels, channels + node.attrs.pads[-1][0]),)


def _concat(node: Node, graph: Graph) -> Ties | None:
    if any(graph.tensors[n].data is not None for n in node.inputs):
        return None
    shape = graph.tensors[node.outputs[0]].shape
    if node.attrs.axis != len(shape) - 1:
        every = np.arange(shape[-1])
        return tuple((every, every) for _ in node.inputs)
    found, at = [], 0
    for name in node.inputs:
        channels = np.arange(_channels(graph, name))
        found.append((channels, channels + at))
        at += len(channels)
    return tuple(found)


def _slice(node: Node, graph: Graph) -> Ties | None:
    attrs = node.attrs
    if len(attrs.size) - 1 in attrs.squeeze or attrs.step[-1] != 1 or attrs.added:
        return None
    out = np.arange(attrs.size[-1])
    return ((out + attrs.begin[-1], out),)


_RULES: dict[str, Callable[[Node, Graph], Ties | None]] = {
    "add": _binary,
    "average_pool_2d": _same,
    "clip": _table,
    "concat": _concat,
    "depthwise_conv_2d": _depthwise,
    "divide": _binary,
    "extremum": _binary,
    "logistic": _table,
    "max_pool_2d": _same,
    "mean": _mean,
    "mul": _binary,
    "pad": _pad,
    "qlinear_add": _binary,
    "qlinear_average_pool": _same,
    "qlinear_mul": _binary,
    "quantize": _table,
    "reshape": _reshape,
    "resize_bilinear": _same,
    "resize_cubic": _same,
    "resize_nearest": _same,
    "slice": _slice,
    "squared_difference": _binary,
    "transpose": _transpose,
    "unary": _table,
}


def without(node: Node, graph: Graph, removed: Mapping[str, Array]) -> tuple[Node, list[Tensor]]:
    """A node without weights, and its new constants, once removed channels (bool [channels] a tensor) are gone."""
    source, out = node.inputs[0], node.outputs[0]
    keep = ~removed[out]
    attrs = node.attrs
    if node.op == "reshape":
        return replace(node, attrs=replace(attrs, shape=(*attrs.shape[:-1], int(keep.sum())))), []
    if node.op == "slice" and source in removed:
        begin = int((~removed[source][: attrs.begin[-1]]).sum())
        box = replace(attrs, begin=(*attrs.begin[:-1], begin), size=(*attrs.size[:-1], int(keep.sum())))
        return replace(node, attrs=box), []
    if node.op not in _SLICED_CONSTANTS:
        return node, []
    inputs, constants = list(node.inputs), []
    for k, name in enumerate(node.inputs):
        tensor = graph.tensors[name]
        if tensor.data is not None and not keep.all() and tensor.shape and tensor.shape[-1] == len(keep):
            data = np.ascontiguousarray(tensor.data[..., keep])
            inputs[k] = f"{out}/live_operand{k}"
            constants.append(replace(tensor, name=inputs[k], shape=data.shape, data=data))
    return replace(node, inputs=tuple(inputs)), constants
