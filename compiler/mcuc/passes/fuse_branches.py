"""Two functions of one byte that meet in a product, a sum or the like are one function of that byte.

before: a = logistic(x) {table}; y = mul(x, a)
after:  y = unary(x) {table}
SiLU, hard-swish in steps, x^2, 1 - x and gates of one value are such. Exact: the 256 results are the operators' own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcuc import ops
from mcuc.ir import Array, DType, Graph, Node, rebuild
from mcuc.passes._tables import IDENTITY, table_of

BINARY = frozenset(
    (
        "add",
        "add_n",
        "divide",
        "extremum",
        "float_math",
        "mul",
        "qlinear_add",
        "qlinear_mul",
        "squared_difference",
    )
)


def fuse_branches(graph: Graph) -> Graph:
    """The graph with such nodes as tables of what the branches start from; what others read of a branch stays."""
    tables = {n.outputs[0]: (n.inputs[0], table_of(n)) for n in graph.nodes if _is_int8(n, graph) and table_of(n)}
    nodes: list[Node] = []
    for node in graph.nodes:
        joined = _joined(node, graph, tables) if node.op in BINARY and _is_int8(node, graph) else None
        nodes.append(joined or node)
        if joined is not None:
            tables[joined.outputs[0]] = (joined.inputs[0], joined.attrs.table)
    return rebuild(graph, nodes)


def _joined(node: Node, graph: Graph, tables: Mapping[str, tuple[str, bytes]]) -> Node | None:
    """The node as a table of the one value that its operands come from, None where there are several."""
    from mcuc.ops.unary.attrs import UnaryAttrs

    out = graph.tensors[node.outputs[0]]
    values = [n for n in node.inputs if graph.tensors[n].data is None]
    if not values or any(graph.tensors[n].elements != 1 for n in node.inputs if n not in values):
        return None
    sources = [{n, tables[n][0]} if n in tables else {n} for n in values]
    common = set.intersection(*sources)
    if not common or any(graph.tensors[n].shape != out.shape for n in values):
        return None
    source = values[0] if values[0] in common else min(common)
    arrays: list[Array | None] = []
    for name in node.inputs:
        data = graph.tensors[name].data
        through = IDENTITY if name == source or data is not None else tables[name][1]
        arrays.append(np.frombuffer(through, np.int8) if data is None else data.reshape(1))
    (results,) = ops.get(node.op).reference(node.attrs, arrays)
    return Node(node.name, "unary", (source,), node.outputs, UnaryAttrs(results.astype(np.int8).tobytes(), "table"))


def _is_int8(node: Node, graph: Graph) -> bool:
    return all(graph.tensors[n].dtype is DType.INT8 for n in (*node.inputs, *node.outputs) if n)
