"""A look-up of 256 results by an int8 value is a function of one byte: how the TFLite exporter writes one.

before: n = cast(x) {int32}; i = integer_math(n, 128) {ADD}; y = gather(table, i) {axis=0}
after:  y = unary(x) {table}
Exact: every index lies in the table.
"""

from __future__ import annotations

import numpy as np

from mcuc.ir import DType, Graph, Node, Tensor, rebuild

OFFSET = 128  # what makes an int8 value a place in the table


def join_lookup(graph: Graph) -> Graph:
    """The graph with such triples as one table; what others read of the numbers stays."""
    producers = graph.producers()
    return rebuild(graph, [_joined(node, graph, producers) or node for node in graph.nodes])


def _joined(node: Node, graph: Graph, producers: dict[str, Node]) -> Node | None:
    """The table; None where the node is no look-up of all 256 values."""
    from mcuc.ops.unary.attrs import UnaryAttrs

    if node.op != "gather":
        return None
    results, add = graph.tensors[node.inputs[0]], producers.get(node.inputs[1])
    if results.data is None or results.shape != (256,) or results.dtype is not DType.INT8:
        return None
    if add is None or add.op != "integer_math" or add.attrs.kind != "ADD":
        return None
    first, second = (graph.tensors[n] for n in add.inputs)
    number, offset = (second, first) if first.data is not None else (first, second)
    cast = producers.get(number.name)
    if not _is(offset, OFFSET) or number.shape != graph.tensors[node.outputs[0]].shape:
        return None
    if cast is None or cast.op != "cast" or number.dtype is not DType.INT32:
        return None
    x = graph.tensors[cast.inputs[0]]
    if x.dtype is not DType.INT8 or x.data is not None:
        return None
    table = np.roll(results.data, -OFFSET).astype(np.int8).tobytes()
    return Node(node.name, "unary", (x.name,), node.outputs, UnaryAttrs(table, "table"))


def _is(tensor: Tensor, value: int) -> bool:
    return tensor.data is not None and tensor.elements == 1 and int(tensor.data.reshape(-1)[0]) == value
