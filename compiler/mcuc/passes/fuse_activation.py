"""A clamp of int8 values goes into the clamp of the node that computes them.

before: a = conv(x) {clamp=(-128, 127)}; y = clip(a) {table = max(-5, min(100, q))}
after:  y = conv(x) {clamp=(-5, 100)}
Only where the table is a plain clamp (same scale and zero point on both sides), so no number changes.
"""

from __future__ import annotations

from dataclasses import replace

from mcuc.ir import DType, Graph, Node, rebuild
from mcuc.ops._unary import clamp_bounds
from mcuc.passes._tables import table_of


def fuse_activation(graph: Graph) -> Graph:
    """Clip nodes folded into their producers' clamps, chains of them included."""
    consumers = graph.consumers()
    at = {node.outputs[0]: i for i, node in enumerate(graph.nodes) if len(node.outputs) == 1}
    nodes: list[Node | None] = list(graph.nodes)
    for i, node in enumerate(graph.nodes):
        bounds = _plain_clamp(node, graph)
        source = node.inputs[0] if bounds else ""
        place = at.get(source)
        producer = nodes[place] if place is not None else None
        if bounds is None or producer is None or place is None:
            continue
        if len(consumers[source]) != 1 or source in graph.kept:
            continue
        clamp = getattr(producer.attrs, "clamp", None)
        if clamp is None or graph.tensors[source].shape != graph.tensors[node.outputs[0]].shape:
            continue
        low, high = (min(max(v, bounds[0]), bounds[1]) for v in clamp)
        nodes[place] = replace(producer, outputs=node.outputs, attrs=replace(producer.attrs, clamp=(low, high)))
        nodes[i] = None
        at[node.outputs[0]] = place
    return rebuild(graph, [n for n in nodes if n is not None])


def _plain_clamp(node: Node, graph: Graph) -> tuple[int, int] | None:
    table = table_of(node)
    if not table:
        return None
    int8 = all(graph.tensors[n].dtype is DType.INT8 for n in (*node.inputs, *node.outputs))
    return clamp_bounds(table) if int8 else None
