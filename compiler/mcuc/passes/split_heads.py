"""Attention becomes one chain of layers a head, without the moves between dense layers and products.

before: t = dense(x); q, k, v = slices and transposes of t, [heads, tokens, depth]; s = batch_matmul(q, k^T)
        p = softmax(s); o = batch_matmul(p, v), [heads, tokens, depth]; y = transpose(o), [tokens, heads * depth]
after:  for each head: q = dense(x), k = dense(x), v = dense(x) with that head's weights, [1, tokens, depth];
        s = batch_matmul(q, k^T); p = softmax(s); o = batch_matmul(p, v);   y = concat(o of all heads)
Where attention is within windows, [windows, heads, tokens, depth], these are the rows of a head's images, [1, windows,
tokens, depth], so that a stream goes window by window; constants that are added to s or stand in its place (a bias for
each distance, a mask) then are so head by head.
Where a dense layer reads y, it becomes one over the heads side by side (ops/concat_dense), which moves none of them.
Heads then need not be there at once, and the scores of a token need not outlive it (schedule/tokens.py). Which element
of t an element of q is, whatever the exporter's spelling, follows from moving the elements' numbers instead of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from mcuc import ops
from mcuc.ir import DType, Graph, Node, Tensor, rebuild
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.passes._heads import Making, Operand, by_windows, matrix
from mcuc.passes._tables import FUNCTIONS

MOVES = ("reshape", "transpose", "slice")
BIASES = ("add", "qlinear_add", "quantize", "reshape", "select")
SOFTMAX = ("softmax", "qlinear_softmax")
MOST_HEADS = 32
MOST_ELEMENTS = 1 << 22  # of a tensor whose elements are numbered: no microcontroller holds more


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
    between: list[Node] = []
    while share is not None and _is_bias(share, graph):
        between += [share] if share.op != "reshape" else []
        share = _only_reader(share.outputs[0], graph, consumers)
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
    if q is None or k is None or v is None or len({(len(o.channels), o.windows) for o in (q, k, v)}) > 1:
        return None
    if between and q.windows == 1:  # one matrix of scores, as wide as the image has tokens: see docs/search.md
        return None
    if not 1 <= len(q.channels) <= MOST_HEADS:
        return None
    last = _joined(product, (q.windows, len(q.channels), tokens, v.channels.shape[1]), graph, consumers)
    if last is None:
        return None
    if q.windows > 1:
        return last, *by_windows((scores, *between, share, product), (q, k, v), last, graph)
    reader = _dense_reader(last, tokens, graph, consumers)
    return reader or last, *_by_heads(scores, share, product, (q, k, v), last, reader, graph)


def _is_bias(node: Node, graph: Graph) -> bool:
    """Between the scores and their softmax: each score with a constant of its place, or in other integers; a move that
    leaves the rows of scores as they are."""
    sources = graph.runtime_inputs(node)
    if node.op not in BIASES or len(sources) != 1:
        return False
    x, y = graph.tensors[sources[0]], graph.tensors[node.outputs[0]]
    return x.elements == y.elements and x.shape[-2:] == y.shape[-2:]


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


def _operand(name: str, rows: int, turned: bool, graph: Graph, made: Mapping[str, Node]) -> Operand | None:
    """What computes the matrices `name`, [windows, heads, rows, depth] or, turned, [windows, heads, depth, rows]."""
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
    windows, rest = divmod(out.elements, max(1, rows) * out.shape[-1])
    if rest or not windows or prod(shape[:-2]) % windows:
        return None
    matrices = numbers.reshape(windows, -1, *shape[-2:])
    matrices = matrices.swapaxes(2, 3) if turned else matrices
    channels = matrices[0, :, 0]
    tokens = np.arange(windows * rows).reshape(windows, 1, -1, 1) * out.shape[-1]
    if matrices.shape[2] != rows or not np.array_equal(matrices, tokens + channels[:, None]):
        return None
    return Operand(dense, channels, tuple(n for n in reversed(way) if n.op not in MOVES), windows)


def _is_elementwise(node: Node, graph: Graph) -> bool:
    """A function of one byte, applied to each element alone: a table, or a product with a constant of one element."""
    if node.op in FUNCTIONS:
        return True
    constants = [n for n in node.inputs if n and graph.tensors[n].data is not None]
    scalar = all(graph.tensors[n].elements == 1 for n in constants)
    return node.op in ("mul", "qlinear_mul") and len(constants) == 1 and scalar


def _joined(
    product: Node, size: tuple[int, int, int, int], graph: Graph, consumers: Mapping[str, list[Node]]
) -> Node | None:
    """The last of the moves behind the product, behind which the heads of a token lie one after the other. size:
    windows, heads, tokens, depth."""
    if prod(size) > MOST_ELEMENTS:
        return None
    numbers = np.arange(prod(size)).reshape(graph.tensors[product.outputs[0]].shape)
    wanted = np.arange(prod(size)).reshape(size).swapaxes(1, 2).reshape(-1)
    node: Node | None = product
    while node is not None and not np.array_equal(numbers.reshape(-1), wanted):
        node = _only_reader(node.outputs[0], graph, consumers)
        if node is None or node.op not in MOVES:
            return None
        (numbers,) = ops.get(node.op).reference(node.attrs, (numbers,))
    return node


def _by_heads(
    scores: Node,
    share: Node,
    product: Node,
    operands: Sequence[Operand],
    last: Node,
    behind: Node | None,
    graph: Graph,
) -> tuple[list[Node], list[Tensor]]:
    """What takes the place of `last` or, where that is not None, of the dense layer behind it."""
    new = Making(graph)
    tokens, keys = graph.tensors[scores.outputs[0]].shape[-2:]
    depth, parts = operands[2].channels.shape[1], []
    for h in range(len(operands[0].channels)):
        # the query last: its tokens need not be there at once
        sides = zip("kvq", (*operands[1:], operands[0]), (keys, keys, tokens), strict=True)
        k, v, q = (matrix(new, f"{scores.name}/{role}{h}", operand, h, rows) for role, operand, rows in sides)
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
