"""Two functions of one byte, one after the other, are one.

before: a = logistic(x); y = quantize(a), both tables of 256 bytes
after:  y = quantize(x) with the table of both
"""

from __future__ import annotations

from dataclasses import replace

from mcuc.ir import DType, Graph, Node, rebuild
from mcuc.passes._tables import table_of


def fuse_tables(graph: Graph) -> Graph:
    """Chains of tables whose values in between nobody else reads, composed."""
    consumers = graph.consumers()
    made = {node.outputs[0]: node for node in graph.nodes if _is_table(node, graph)}
    gone = set[str]()
    nodes: list[Node] = []
    for node in graph.nodes:
        source = node.inputs[0] if _is_table(node, graph) else ""
        first = made.get(source)
        if first is not None and len(consumers[source]) == 1 and source not in graph.kept:
            before, after = table_of(first), table_of(node)
            both = bytes(after[value] for value in before)
            node = replace(node, inputs=first.inputs, attrs=replace(node.attrs, table=both))
            made[node.outputs[0]] = node
            gone.add(first.name)
        nodes.append(node)
    return rebuild(graph, [n for n in nodes if n.name not in gone])


def _is_table(node: Node, graph: Graph) -> bool:
    int8 = all(graph.tensors[n].dtype is DType.INT8 for n in (*node.inputs, *node.outputs) if n)
    return bool(table_of(node)) and int8
