"""Layer norms computed again for each reader, so that their output is never whole.

before: n = layer_norm(x); k = fully_connected(n); v = fully_connected(n); q = fully_connected(n)
after:  n = layer_norm(x); k = fully_connected(n); v = fully_connected(n); n' = layer_norm(x); q = fully_connected(n')
Pays where x stays anyway, as a residual does, and the reader goes through it token by token, as all but the keys and
values of attention do: those are needed whole, a norm for both. A norm costs some instructions an element, no MAC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mcuc.ir import Graph, Node, Tensor, rebuild
from mcuc.passes._tables import FUNCTIONS

NORMS = ("layer_norm", "rms_norm")
PER_ELEMENT = 7  # instructions, on a Cortex-M4


def repeat_norms(graph: Graph) -> Graph:
    """The graph with a norm for each reader but for neighbours that are needed whole; itself where no norm has two."""
    consumers = graph.consumers()
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    current: dict[str, str] = {}  # a norm's output -> that of its latest copy
    norms: Mapping[str, Node] = {
        n.outputs[0]: n for n in graph.nodes
        if n.op in NORMS and len(consumers[n.outputs[0]]) > 1 and n.outputs[0] not in graph.kept
    }
    before: dict[str, bool] = {}  # a norm's output -> whether its latest reader is needed whole
    for node in graph.nodes:
        if node.outputs[0] in norms:
            continue  # where its first reader is
        inputs = list(node.inputs)
        for i, name in enumerate(inputs):
            if name not in norms:
                continue
            whole = _right_operand(node, consumers)
            if not (whole and before.get(name)):
                norm, suffix = norms[name], f"/{node.name}" if name in current else ""
                current[name] = name + suffix
                tensors.append(replace(graph.tensors[name], name=current[name]))
                nodes.append(replace(norm, name=norm.name + suffix, outputs=(current[name],)))
            before[name], inputs[i] = whole, current[name]
        nodes.append(replace(node, inputs=tuple(inputs)))
    again = len(nodes) - len(graph.nodes)
    if not again:
        return graph
    counts = f"{len(norms) + again} instead of {len(norms)}"
    note = f"norms are computed for each reader, so that none is held whole: {counts}"
    return rebuild(graph, nodes, tensors, notes=(note,))


def repeated_cost(before: Graph, after: Graph) -> int:
    """Instructions, about, that the repeated norms of `after` take more than those of `before`."""
    def elements(graph: Graph) -> int:
        return sum(graph.tensors[n.outputs[0]].elements for n in graph.nodes if n.op in NORMS)

    return PER_ELEMENT * (elements(after) - elements(before))


def _right_operand(node: Node, consumers: Mapping[str, list[Node]]) -> bool:
    """Its output, perhaps through functions of single elements, is a matrix whose rows all products need."""
    name, readers = node.outputs[0], consumers[node.outputs[0]]
    while len(readers) == 1 and readers[0].op in FUNCTIONS:
        name = readers[0].outputs[0]
        readers = consumers[name]
    return len(readers) == 1 and readers[0].op == "batch_matmul" and name == readers[0].inputs[1]
