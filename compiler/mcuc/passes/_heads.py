"""The layers of one head of an attention, for the pass split_heads: its dense layers, and all of it where windows are
the rows of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mcuc.ir import Array, Graph, Node, Tensor
from mcuc.ops.concat import ConcatAttrs
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.passes._picked import picked, picked_quant, picked_requant


@dataclass(frozen=True, eq=False)
class Operand:
    """A dense layer's output as heads see it. channels [heads, depth]: its channels; steps: functions of one element
    on the way, in order; windows: how many there are, each with rows of its own."""

    dense: Node
    channels: Array
    steps: tuple[Node, ...]
    windows: int


@dataclass(eq=False)
class Making:
    """Nodes and tensors in the making, each tensor like one of the graph but for its name and shape."""

    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)

    def add(self, name: str, node: Node, inputs: Sequence[str], shape: tuple[int, ...], attrs: Any = None) -> str:
        """A node as `node` with other inputs; returns its output, called as itself."""
        self.tensors.append(replace(self.graph.tensors[node.outputs[0]], name=name, shape=shape))
        self.nodes.append(Node(name, node.op, tuple(inputs), (name,), node.attrs if attrs is None else attrs))
        return name

    def reshape(self, name: str, source: str, shape: tuple[int, ...]) -> str:
        """The same elements in another shape."""
        before = next(t for t in self.tensors if t.name == source)
        self.tensors.append(replace(before, name=name, shape=shape))
        self.nodes.append(Node(name, "reshape", (source,), (name,), ReshapeAttrs(shape)))
        return name

    def join(self, name: str, parts: Sequence[str], shape: tuple[int, ...], axis: int) -> str:
        """The parts one after the other along an axis; the part itself, reshaped, where it is the only one."""
        if len(parts) == 1:
            return self.reshape(name, parts[0], shape)
        before = next(t for t in self.tensors if t.name == parts[0])
        self.tensors.append(replace(before, name=name, shape=shape))
        self.nodes.append(Node(name, "concat", tuple(parts), (name,), ConcatAttrs(axis, (b"",) * len(parts))))
        return name


def by_windows(
    attention: Sequence[Node], operands: Sequence[Operand], last: Node, graph: Graph
) -> tuple[list[Node], list[Tensor]]:
    """What takes the place of `last`: each head as images of a row for each window. attention: its product of scores,
    what is between that and the softmax, the softmax, the product with the values."""
    scores, *between, share, product = attention
    new, windows, heads = Making(graph), operands[0].windows, len(operands[0].channels)
    tokens, keys = graph.tensors[scores.outputs[0]].shape[-2:]
    depth, parts = operands[2].channels.shape[1], []
    for h in range(heads):
        sides = zip("kvq", (*operands[1:], operands[0]), (keys, keys, tokens), strict=True)
        k, v, q = (matrix(new, f"{scores.name}/{role}{h}", operand, h, rows) for role, operand, rows in sides)
        shape = (1, windows, tokens, keys)
        s = new.add(f"{scores.name}/{h}", scores, (q, k), shape, replace(scores.attrs, adj_y=True))
        for node in between:
            whole = graph.tensors[node.outputs[0]].shape
            given = [s if graph.tensors[n].data is None else _of_head(new, n, whole, (windows, heads), h)
                     for n in node.inputs]  # fmt: skip
            s = new.add(f"{node.name}/{h}", node, given, shape)
        p = new.add(f"{share.name}/{h}", share, (s, *share.inputs[1:]), shape)
        parts.append(new.add(f"{product.name}/{h}", product, (p, v), (1, windows, tokens, depth)))
    joined = new.join(f"{last.name}/heads", parts, (1, windows, tokens, heads * depth), 3)
    out = graph.tensors[last.outputs[0]]
    new.nodes.append(Node(last.name, "reshape", (joined,), last.outputs, ReshapeAttrs(out.shape)))
    return new.nodes, new.tensors


def _of_head(new: Making, name: str, whole: tuple[int, ...], size: tuple[int, int], head: int) -> str:
    """The part of a constant that meets the scores, [windows, heads, tokens, keys], that meets one head's: for each
    window, or for all where they are alike."""
    constant, made = new.graph.tensors[name], f"{name}/head{head}"
    assert constant.data is not None
    data = np.broadcast_to(constant.data, whole).reshape(*size, *whole[-2:])[None, :, head]
    data = np.ascontiguousarray(data[:, :1] if (data == data[:, :1]).all() else data)
    if all(t.name != made for t in new.tensors):
        new.tensors.append(replace(constant, name=made, shape=data.shape, data=data))
    return made


def matrix(new: Making, name: str, operand: Operand, head: int, rows: int) -> str:
    """One head's matrix of an operand, [1, rows, depth], which a dense layer writes as well as [rows, depth]; of
    windows [1, windows, rows, depth]."""
    dense, channels = operand.dense, operand.channels[head]
    constants = [
        _channels_of(t, channels, f"{name}/{part}")
        for t, part in zip(map(new.graph.tensors.get, dense.inputs[1:]), ("weights", "bias"), strict=False)
        if t is not None
    ]
    new.tensors += constants
    zero_points = picked(dense.attrs.weight_zero_point, channels)
    attrs = replace(dense.attrs, requant=picked_requant(dense.attrs.requant, channels), weight_zero_point=zero_points)
    source = dense.inputs[0]
    shape: tuple[int, ...] = (1, rows, len(channels))
    if operand.windows > 1:
        before = new.graph.tensors[source]
        image = (1, operand.windows, rows, before.elements // (operand.windows * rows))
        shape, source = (*image[:3], len(channels)), f"{name}/windows"
        new.tensors.append(replace(before, name=source, shape=image))
        new.nodes.append(Node(source, "reshape", (dense.inputs[0],), (source,), ReshapeAttrs(image)))
    inputs = (source, *(t.name for t in constants))
    current = new.add(f"{name}/dense", dense, inputs, shape, attrs)
    for n, step in enumerate(operand.steps):
        given = []
        for source in step.inputs:
            constant = new.graph.tensors[source].data
            given.append(current if constant is None else f"{name}/{n}/constant")
            if constant is not None:
                old = new.graph.tensors[source]
                new.tensors.append(replace(old, name=given[-1], shape=(1,), data=constant.reshape(1)))
        current = new.add(f"{name}/{n}", step, given, shape)
    return current


def _channels_of(constant: Tensor, channels: Array, name: str) -> Tensor:
    """The weights or biases of some output channels of a dense layer."""
    assert constant.data is not None
    data = np.ascontiguousarray(constant.data[channels])
    return Tensor(name, data.shape, constant.dtype, picked_quant(constant.quant, 0, channels), data, constant.int4)
