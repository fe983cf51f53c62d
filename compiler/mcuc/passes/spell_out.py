"""Operators that are others in disguise become those others.

before: a, b = split(x) {axis=3 sizes=(2, 3)}; y = pack(a, c) {axis=1}
after:  a = slice(x); b = slice(x); a' = reshape(a); c' = reshape(c); y = concat(a', c') {axis=1}
"""

from __future__ import annotations

from mcuc import ops
from mcuc.ir import Graph, Node, Tensor, rebuild


def spell_out(graph: Graph) -> Graph:
    """The graph with every node whose operator has an `expand` replaced by what that gives."""
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        expand = ops.get(node.op).expand
        if expand is None:
            nodes.append(node)
            continue
        made, new = expand(node, graph)
        nodes += made
        tensors += new
    return rebuild(graph, nodes, tensors)
