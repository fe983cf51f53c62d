"""An addition goes into the convolution before it, which then stores the sum and never its own result.

before: t = conv_2d(x, w, b); y = add(t, r)
after:  y = conv_2d_add(x, w, b, r)
Only where nobody else reads t, r is computed at run time and has t's shape, x does not lie in r's own bytes, and the
addition is a weighted sum of 32 bits that saturates at a byte (kernels/binary/_weighted.py). Of two convolutions the
later one takes the addition.
"""

from __future__ import annotations

from dataclasses import replace

from mcuc import ops
from mcuc.ir import DType, Graph, Node, Tensor, rebuild
from mcuc.ops.conv_2d import constant_weights
from mcuc.ops.conv_2d_add import RESIDUAL, joined_sum
from mcuc.ops.conv_2d_add.attrs import ConvAddAttrs

FUSED = "conv_2d_add"


def fuse_add(graph: Graph) -> Graph:
    """Additions computed by the convolutions before them; a convolution takes one addition."""
    consumers, made = graph.consumers(), graph.producers()
    place = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs}
    nodes: list[Node | None] = list(graph.nodes)
    for i, node in enumerate(graph.nodes):
        if node.op != "add" or not _alike(node, graph) or joined_sum(node.attrs) is None:
            continue
        found = [
            (place[name], conv, k)
            for k, name in enumerate(node.inputs)
            if (conv := made.get(name)) is not None
            and len(consumers[name]) == 1
            and name not in graph.outputs
            and _takes(conv, node.inputs[1 - k], graph, made)
        ]
        if found:
            at, conv, k = max(found, key=lambda f: f[0])
            nodes[at], nodes[i] = None, _fused(conv, node, k, graph)
    return rebuild(graph, [n for n in nodes if n is not None])


def split_add(graph: Graph) -> Graph:
    """The graph with every such convolution and its addition as two nodes again; itself where it has none."""
    if not any(node.op == FUSED for node in graph.nodes):
        return graph
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        if node.op != FUSED:
            nodes.append(node)
            continue
        attrs: ConvAddAttrs = node.attrs
        tensors.append(replace(graph.tensors[node.outputs[0]], name=attrs.between, quant=attrs.quant))
        pair = (attrs.between, node.inputs[RESIDUAL])
        conv = node.inputs[:RESIDUAL] if node.inputs[RESIDUAL - 1] else node.inputs[: RESIDUAL - 1]
        nodes.append(Node(node.name, "conv_2d", conv, (attrs.between,), attrs.conv))
        nodes.append(Node(attrs.addition, "add", pair if attrs.first else pair[::-1], node.outputs, attrs.add))
    return rebuild(graph, nodes, tensors)


def _alike(node: Node, graph: Graph) -> bool:
    """Two different tensors of the same shape, that of one image, are added at run time."""
    found = [graph.tensors[n] for n in (*node.inputs, *node.outputs)]
    same = len({t.shape for t in found}) == 1 and all(t.dtype is DType.INT8 and t.data is None for t in found)
    return same and node.inputs[0] != node.inputs[1] and len(found[0].shape) == 4 and found[0].shape[0] == 1


def _takes(conv: Node, residual: str, graph: Graph, made: dict[str, Node]) -> bool:
    if conv.op != "conv_2d" or conv.attrs.groups != 1 or constant_weights(conv, graph) is not None:
        return False
    return _base(conv.inputs[0], made) != _base(residual, made)


def _base(name: str, made: dict[str, Node]) -> str:
    """The first tensor with the same bytes."""
    while name in made and ops.get(made[name].op).alias:
        name = made[name].inputs[0]
    return name


def _fused(conv: Node, node: Node, k: int, graph: Graph) -> Node:
    between = graph.tensors[conv.outputs[0]]
    given = (*conv.inputs, "")[:RESIDUAL]
    attrs = ConvAddAttrs(conv.attrs, node.attrs, k == 0, node.name, between.name, between.quant)
    return Node(conv.name, FUSED, (*given, node.inputs[1 - k]), node.outputs, attrs)
