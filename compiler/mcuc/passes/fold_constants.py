"""Evaluate nodes whose inputs are all constants, by their reference.

before: s = shape() {values=(1, 6)}; n = slice(s); p = pack(n, const); y = reshape(x, p)
after:  y = reshape(x, const)
"""

from __future__ import annotations

from dataclasses import replace

from mcuc import ops
from mcuc.errors import McucError
from mcuc.ir import Graph, Node, Tensor, rebuild

MAX_ELEMENTS = 1 << 24  # of one folded tensor
MAX_MACS = 1 << 28


def fold_constants(graph: Graph) -> Graph:
    """The graph with constant results in place of the nodes that compute them; graph outputs and states stay computed.

    Raises McucError("broken-model") when a folded result does not fit the shape that the file declares.
    """
    tensors = dict(graph.tensors)
    kept = []
    for node in graph.nodes:
        view = replace(graph, tensors=tensors)
        if _foldable(node, view):
            tensors.update((t.name, t) for t in _evaluate(node, tensors))
        else:
            kept.append(node)
    return rebuild(graph, kept, tensors.values())


def _foldable(node: Node, graph: Graph) -> bool:
    if graph.runtime_inputs(node) or any(n in graph.kept for n in node.outputs):
        return False
    if node.op == "quantize" and not node.attrs.table:  # float to int8: left for check_supported
        return False
    elements = sum(graph.tensors[n].elements for n in node.outputs)
    return elements <= MAX_ELEMENTS and ops.get(node.op).cost(node, graph).macs <= MAX_MACS


def _evaluate(node: Node, tensors: dict[str, Tensor]) -> list[Tensor]:
    try:
        results = ops.get(node.op).reference(node.attrs, [tensors[n].data if n else None for n in node.inputs])
    except McucError as error:
        raise McucError(error.code, error.found, where=node.name, try_this=error.try_this) from error
    folded = []
    for name, data in zip(node.outputs, results, strict=True):
        declared = tensors[name]
        if data.size != declared.elements:
            raise McucError("broken-model", f"{node.op} computes {data.size} elements, {name!r} is declared as "
                            f"{declared.shape}", where=node.name,
                            try_this="export the model with batch size 1; check that the file is complete")
        folded.append(replace(declared, data=data.reshape(declared.shape).astype(declared.dtype.value)))
    return folded
