"""Remove nodes whose results nobody reads.

before: a = conv(x); b = shape(); c = pack(b, b)      output a
after:  a = conv(x)                                   output a
"""

from __future__ import annotations

from mcuc.ir import Graph, rebuild


def remove_dead(graph: Graph) -> Graph:
    """The graph without nodes that no output and no state depends on, and without the tensors that only they named."""
    wanted = set(graph.kept)
    kept = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return rebuild(graph, reversed(kept))
