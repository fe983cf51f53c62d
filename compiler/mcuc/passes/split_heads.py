"""Attention becomes one chain of layers a head, without the moves between dense layers and products.

before: t = dense(x); q, k, v = slices and transposes of t, [heads, tokens, depth]; s = batch_matmul(q, k^T)
        p = softmax(s); o = batch_matmul(p, v), [heads, tokens, depth]; y = transpose(o), [tokens, heads * depth]
after:  for each head: q = dense(x), k = dense(x), v = dense(x) with that head's weights, [1, tokens, depth];
        s = batch_matmul(q, k^T); p = softmax(s); o = batch_matmul(p, v);   y = concat(o of all heads)
Where a dense layer reads y, it becomes one over the heads side by side (ops/concat_dense), which moves none of them.
Heads then need not be there at once, and the scores of a token need not outlive it (schedule/tokens.py). Which element
of t an element of q is, whatever the exporter's spelling, follows from moving the elements' numbers instead of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from mcuc import ops
from mcuc.ir import Array, DType, Graph, Node, Tensor, rebuild
from mcuc.ops.concat import ConcatAttrs
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.passes._picked import picked, picked_quant, picked_requant
from mcuc.passes._tables import FUNCTIONS

MOVES = ("reshape", "transpose", "slice")
SOFTMAX = ("softmax", "qlinear_softmax")
MOST_HEADS = 32
MOST_ELEMENTS = 1 << 22  # of a tensor whose elements are numbered: no microcontroller holds more


@dataclass(frozen=True, eq=False)
class _Operand:
    """A dense layer's output as heads see it. channels [heads, depth]: its channels; steps: functions of one element
    on the way, in order."""

    dense: Node
    channels: Array
    steps: tuple[Node, ...]


def split_heads(graph: Graph) -> Graph:
    """The graph with each attention that it recognises head by head; what is left without readers stays in it."""
    made, consumers = graph.producers(), graph.consumers()
    replaced: dict[str, tuple[list[Node], list[Tensor]]] = {}
    for scores in graph.nodes:
        found = _attention(scores, graph, made, consumers)
        if found is not None:
            last, nodes, tensors = found
            replaced[last.name] = nodes, tensors
    if not replaced:
        return graph
    nodes = [n for node in graph.nodes for n in (replaced[node.name][0] if node.name in replaced else [node])]
    return rebuild(graph, nodes, [t for _, new in replaced.values() for t in new])


def _attention(
    scores: Node, graph: Graph, made: Mapping[str, Node], consumers: Mapping[str, list[Node]]
) -> tuple[Node, list[Node], list[Tensor]] | None:
    """The last node of an attention that begins with the product `scores`, and what takes that node's place."""
    if scores.op != "batch_matmul" or scores.attrs.adj_x:
        return None
    share = _only_reader(scores.outputs[0], graph, consumers)
    if share is None or share.op not in SOFTMAX:
        return None
    product = _only_reader(share.outputs[0], graph, consumers)
    if product is None or product.op != "batch_matmul" or product.inputs[0] != share.outputs[0]:
        return None
    if product.attrs.adj_x or product.attrs.adj_y:
        return None
    tokens, keys = graph.tensors[scores.outputs[0]].shape[-2:]
    sides = (
        (scores.inputs[0], tokens, False),
        (scores.inputs[1], keys, not scores.attrs.adj_y),
        (product.inputs[1], keys, False),
    )
    operands = [_operand(name, rows, turned, graph, made) for name, rows, turned in sides]
    q, k, v = operands
    if q is None or k is None or v is None or len({len(o.channels) for o in (q, k, v)}) > 1:
        return None
    if not 1 <= len(q.channels) <= MOST_HEADS:
        return None
    last = _joined(product, (len(q.channels), tokens, v.channels.shape[1]), graph, consumers)
    if last is None:
        return None
    reader = _dense_reader(last, tokens, graph, consumers)
    return reader or last, *_by_heads(scores, share, product, (q, k, v), last, reader, graph)


def _dense_reader(last: Node, tokens: int, graph: Graph, consumers: Mapping[str, list[Node]]) -> Node | None:
    """The dense layer that alone reads the heads of a token side by side."""
    reader = _only_reader(last.outputs[0], graph, consumers)
    while reader is not None and reader.op == "reshape":
        reader = _only_reader(reader.outputs[0], graph, consumers)
    if reader is None or reader.op != "fully_connected":
        return None
    weights, out = graph.tensors[reader.inputs[1]], graph.tensors[reader.outputs[0]]
    return None if weights.data is None or out.elements != tokens * out.shape[-1] else reader


def _only_reader(name: str, graph: Graph, consumers: Mapping[str, list[Node]]) -> Node | None:
    readers = consumers[name]
    return readers[0] if len(readers) == 1 and name not in graph.kept else None


def _operand(name: str, rows: int, turned: bool, graph: Graph, made: Mapping[str, Node]) -> _Operand | None:
    """What computes the matrices `name`, [heads, rows, depth] or, turned, [heads, depth, rows]."""
    shape = graph.tensors[name].shape
    way: list[Node] = []
    while name in made and (made[name].op in MOVES or _is_elementwise(made[name], graph)):
        sources = graph.runtime_inputs(made[name])
        if len(sources) != 1:
            return None
        way.append(made[name])
        (name,) = sources
    dense = made.get(name)
    if dense is None or dense.op != "fully_connected" or graph.tensors[dense.inputs[1]].data is None:
        return None
    out = graph.tensors[name]
    if out.dtype is not DType.INT8 or not 0 < out.elements <= MOST_ELEMENTS:
        return None
    if any(graph.tensors[n].shape[:1] != out.shape[-1:] for n in dense.inputs[1:] if n):
        return None
    numbers = np.arange(out.elements).reshape(out.shape)
    for node in reversed(way):
        if node.op in MOVES:
            (numbers,) = ops.get(node.op).reference(node.attrs, (numbers,))
    heads = prod(shape[:-2])
    matrices = numbers.reshape(heads, *shape[-2:])
    matrices = matrices.swapaxes(1, 2) if turned else matrices
    channels = matrices[:, 0]
    whole = np.arange(rows)[None, :, None] * out.shape[-1] + channels[:, None]
    if matrices.shape[1] != rows or rows * out.shape[-1] != out.elements or not np.array_equal(matrices, whole):
        return None
    return _Operand(dense, channels, tuple(n for n in reversed(way) if n.op not in MOVES))


def _is_elementwise(node: Node, graph: Graph) -> bool:
    """A function of one byte, applied to each element alone: a table, or a product with a constant of one element."""
    if node.op in FUNCTIONS:
        return True
    constants = [n for n in node.inputs if n and graph.tensors[n].data is not None]
    scalar = all(graph.tensors[n].elements == 1 for n in constants)
    return node.op in ("mul", "qlinear_mul") and len(constants) == 1 and scalar


def _joined(
    product: Node, size: tuple[int, int, int], graph: Graph, consumers: Mapping[str, list[Node]]
) -> Node | None:
    """The last of the moves behind the product, behind which the heads of a token lie one after the other."""
    heads, tokens, depth = size
    if heads * tokens * depth > MOST_ELEMENTS:
        return None
    numbers = np.arange(heads * tokens * depth).reshape(graph.tensors[product.outputs[0]].shape)
    wanted = np.arange(heads * tokens * depth).reshape(size).swapaxes(0, 1).reshape(-1)
    node: Node | None = product
    while node is not None and not np.array_equal(numbers.reshape(-1), wanted):
        node = _only_reader(node.outputs[0], graph, consumers)
        if node is None or node.op not in MOVES:
            return None
        (numbers,) = ops.get(node.op).reference(node.attrs, (numbers,))
    return node


@dataclass(eq=False)
class _New:
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


def _by_heads(
    scores: Node,
    share: Node,
    product: Node,
    operands: Sequence[_Operand],
    last: Node,
    behind: Node | None,
    graph: Graph,
) -> tuple[list[Node], list[Tensor]]:
    """What takes the place of `last` or, where that is not None, of the dense layer behind it."""
    new = _New(graph)
    tokens, keys = graph.tensors[scores.outputs[0]].shape[-2:]
    depth, parts = operands[2].channels.shape[1], []
    for h in range(len(operands[0].channels)):
        # the query last: its tokens need not be there at once
        sides = zip("kvq", (*operands[1:], operands[0]), (keys, keys, tokens), strict=True)
        k, v, q = (_matrix(new, f"{scores.name}/{role}{h}", operand, h, rows) for role, operand, rows in sides)
        s = new.add(f"{scores.name}/{h}", scores, (q, k), (1, tokens, keys), replace(scores.attrs, adj_y=True))
        p = new.add(f"{share.name}/{h}", share, (s, *share.inputs[1:]), (1, tokens, keys))
        parts.append(new.add(f"{product.name}/{h}", product, (p, v), (1, tokens, depth)))
    out = graph.tensors[last.outputs[0]]
    if behind is None:
        joined = new.join(f"{last.name}/heads", parts, (1, tokens, out.elements // tokens), 2)
        new.nodes.append(Node(last.name, "reshape", (joined,), last.outputs, ReshapeAttrs(out.shape)))
        return new.nodes, new.tensors
    rows = [new.reshape(f"{name}/row", name, (1, 1, tokens, depth)) for name in parts]
    final = graph.tensors[behind.outputs[0]]
    row = f"{behind.outputs[0]}/row"
    new.tensors.append(replace(final, name=row, shape=(1, 1, tokens, final.shape[-1])))
    weights, bias = behind.inputs[1], behind.inputs[2] if len(behind.inputs) > 2 else ""
    new.nodes.append(Node(behind.name, "concat_dense", (*rows, weights, bias), (row,), behind.attrs))
    new.nodes.append(Node(f"{behind.name}/row", "reshape", (row,), behind.outputs, ReshapeAttrs(final.shape)))
    return new.nodes, new.tensors


def _matrix(new: _New, name: str, operand: _Operand, head: int, rows: int) -> str:
    """One head's matrix of an operand, [1, rows, depth], which a dense layer writes as well as [rows, depth]."""
    dense, channels = operand.dense, operand.channels[head]
    constants = [_channels_of(t, channels, f"{name}/{part}")
                 for t, part in zip(map(new.graph.tensors.get, dense.inputs[1:]), ("weights", "bias"), strict=False)
                 if t is not None]
    new.tensors += constants
    zero_points = picked(dense.attrs.weight_zero_point, channels)
    attrs = replace(dense.attrs, requant=picked_requant(dense.attrs.requant, channels), weight_zero_point=zero_points)
    inputs = (dense.inputs[0], *(t.name for t in constants))
    current = new.add(f"{name}/dense", dense, inputs, (1, rows, len(channels)), attrs)
    for n, step in enumerate(operand.steps):
        given = []
        for source in step.inputs:
            constant = new.graph.tensors[source].data
            given.append(current if constant is None else f"{name}/{n}/constant")
            if constant is not None:
                old = new.graph.tensors[source]
                new.tensors.append(replace(old, name=given[-1], shape=(1,), data=constant.reshape(1)))
        current = new.add(f"{name}/{n}", step, given, (1, rows, len(channels)))
    return current


def _channels_of(constant: Tensor, channels: Array, name: str) -> Tensor:
    """The weights or biases of some output channels of a dense layer."""
    assert constant.data is not None
    data = np.ascontiguousarray(constant.data[channels])
    return Tensor(name, data.shape, constant.dtype, picked_quant(constant.quant, 0, channels), data, constant.int4)
