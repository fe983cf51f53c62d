"""Remove what changes nothing, and merge neighbours of one kind.

before: a = reshape(x) {same shape}; b = transpose(transpose(a)); c = quantize(b) {table=identity}; d = clip(clip(c))
after:  d = clip(x) {table=second after first}
A transpose that moves no data becomes a reshape; two reshapes in a row become one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Node, Tensor, rebuild
from mcuc.ops.quantize import QuantizeAttrs
from mcuc.ops.reshape import ReshapeAttrs
from mcuc.ops.transpose import TransposeAttrs
from mcuc.passes._tables import IDENTITY, table_of
from mcuc.passes.remove_dead import remove_dead

_MAX_SWEEPS = 8

Producers = dict[str, Node]
Rule = Callable[[Node, Producers, Graph], Node]


def remove_identities(graph: Graph) -> Graph:
    """The graph without identities. Raises McucError("broken-model") for a folded reshape that does not fit."""
    for _ in range(_MAX_SWEEPS):
        swept = remove_dead(_keep_output_names(_sweep(graph)))
        if swept.nodes == graph.nodes:
            break
        graph = swept
    return graph


def _sweep(graph: Graph) -> Graph:
    """One pass in execution order; results of identities are replaced by their inputs in later nodes."""
    renamed: dict[str, str] = {}
    producers: Producers = {}
    nodes = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(renamed.get(n, n) for n in node.inputs))
        for rule in _RULES:
            node = rule(node, producers, graph)
        if is_identity(node, graph) and node.outputs[0] not in graph.outputs:
            renamed[node.outputs[0]] = node.inputs[0]
            continue
        nodes.append(node)
        producers.update((n, node) for n in node.outputs)
    return rebuild(graph, nodes)


def is_identity(node: Node, graph: Graph) -> bool:
    """The output is the input: same type, same shape, same bytes."""
    if len(node.inputs) != 1 or len(node.outputs) != 1:
        return False
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if (x.shape, x.dtype) != (out.shape, out.dtype):
        return False
    return node.op == "reshape" or table_of(node) == IDENTITY


def _keep_output_names(graph: Graph) -> Graph:
    """An identity that computes a graph output goes, and its producer writes the output directly."""
    producers = graph.producers()
    renamed: dict[str, str] = {}
    for name in graph.outputs:
        node = producers.get(name)
        if node is None or not is_identity(node, graph):
            continue
        source = node.inputs[0]
        if source in producers and source not in graph.outputs and source not in renamed:
            renamed[source] = name
    gone = set(renamed.values())
    nodes = [replace(n, inputs=tuple(renamed.get(i, i) for i in n.inputs),
                     outputs=tuple(renamed.get(o, o) for o in n.outputs))
             for n in graph.nodes if n.outputs[0] not in gone]
    return rebuild(graph, nodes)


def _drop_known_shape(node: Node, producers: Producers, graph: Graph) -> Node:
    """reshape(x, constant) -> reshape(x); the constant must agree with the declared shape."""
    if node.op != "reshape" or len(node.inputs) < 2 or graph.tensors[node.inputs[1]].data is None:
        return node
    wanted = [int(v) for v in graph.const(node.inputs[1]).reshape(-1)]
    declared = node.attrs.shape
    if len(wanted) != len(declared) or wanted.count(-1) > 1 or any(
            w not in (-1, d) for w, d in zip(wanted, declared, strict=True)):
        raise McucError("broken-model", f"the shape works out as {wanted}, the file declares {declared}",
                        where=node.name, try_this="export the model with batch size 1; check that the file is complete")
    return replace(node, inputs=node.inputs[:1])


def _merge_reshapes(node: Node, producers: Producers, graph: Graph) -> Node:
    before = producers.get(node.inputs[0]) if node.op == "reshape" and len(node.inputs) == 1 else None
    if before is None or before.op != "reshape" or len(before.inputs) > 1:
        return node
    return replace(node, inputs=before.inputs)


def _merge_transposes(node: Node, producers: Producers, graph: Graph) -> Node:
    before = producers.get(node.inputs[0]) if node.op == "transpose" else None
    if before is None or before.op != "transpose":
        return node
    perm = tuple(before.attrs.perm[p] for p in node.attrs.perm)
    return replace(node, inputs=before.inputs, attrs=TransposeAttrs(perm))


def _transpose_to_reshape(node: Node, producers: Producers, graph: Graph) -> Node:
    """A permutation that keeps the order of the axes longer than 1 moves no data."""
    if node.op != "transpose":
        return node
    shape = graph.tensors[node.inputs[0]].shape
    long = [p for p in node.attrs.perm if shape[p] != 1]
    if long != sorted(long):
        return node
    return replace(node, op="reshape", attrs=ReshapeAttrs(graph.tensors[node.outputs[0]].shape))


def _merge_tables(node: Node, producers: Producers, graph: Graph) -> Node:
    """Table after table: one table. A uint8 result stays with the shift that makes it, unless both cancel out."""
    second = table_of(node)
    before = producers.get(node.inputs[0]) if second else None
    first = table_of(before) if before is not None else b""
    if before is None or not first:
        return node
    merged = np.frombuffer(second, np.uint8)[np.frombuffer(first, np.uint8)].tobytes()
    source, out = graph.tensors[before.inputs[0]], graph.tensors[node.outputs[0]]
    if out.dtype is not DType.INT8 and not (merged == IDENTITY and _same_type(source, out)):
        return node
    if source.dtype is not DType.INT8:  # of a uint8 input: only quantize reads such bytes
        return replace(node, op="quantize", inputs=before.inputs, attrs=QuantizeAttrs(merged))
    return replace(node, inputs=before.inputs, attrs=replace(node.attrs, table=merged))


def _same_type(a: Tensor, b: Tensor) -> bool:
    return (a.dtype, a.shape) == (b.dtype, b.shape)


_RULES: tuple[Rule, ...] = (_drop_known_shape, _merge_reshapes, _merge_transposes, _transpose_to_reshape, _merge_tables)
