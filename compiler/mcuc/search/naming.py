"""Names of the search's layers in the graphs that they become."""

from __future__ import annotations

from dataclasses import replace

from mcuc.ir import Graph, check
from mcuc.quantize.qdq import REAL

LINEAR = ".linear"  # behind a layer's name: its value before the ReLU


def named(graph: Graph) -> Graph:
    """Nodes named by the search's layers, as the report shows them; the importer numbers them."""
    nodes = tuple(replace(n, name=n.outputs[0].removesuffix(REAL).removesuffix(LINEAR)) for n in graph.nodes)
    return check(replace(graph, nodes=nodes))
