"""A MatMul with constant weights and the addition of a constant vector behind it, which is its bias.

PyTorch's exporters write linear layers over more than two axes so; quantizers leave what lies between the two in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mcuc.importers._onnx_proto import FileGraph, FileNode
from mcuc.ir import Array

MOST_STEPS = 5  # from a constant to where it is used
_KEEP = ("DequantizeLinear", "QuantizeLinear", "Clip", "Transpose", "Identity")  # of constants, constants again


def join_biases(file: FileGraph) -> FileGraph:
    """The graph with such pairs as a MatMul of three inputs, in the place of the addition."""
    outside = {o.name for o in file.outputs}
    readers: dict[str, list[FileNode]] = {}
    for node in file.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    makers = {name: node for node in file.nodes for name in node.outputs}
    joined: dict[str, FileNode] = {}
    gone = set[int]()
    for node in file.nodes:
        if node.kind != "MatMul" or node.domain or len(node.inputs) != 2 or not node.outputs:
            continue
        used = readers.get(node.outputs[0], [])
        add = used[0] if len(used) == 1 and node.outputs[0] not in outside else None
        if add is None or add.kind != "Add" or add.domain or len(add.inputs) != 2:
            continue
        bias = add.inputs[1 if add.inputs[0] == node.outputs[0] else 0]
        weights = _constant(node.inputs[1], file.initializers, makers)
        vector = _constant(bias, file.initializers, makers)
        if weights is None or vector is None or weights.ndim != 2:
            continue
        if vector.shape and vector.size == vector.shape[-1]:
            joined[add.outputs[0]] = replace(node, inputs=(*node.inputs, bias), outputs=add.outputs)
            gone.add(id(node))
    kept = [joined.get(n.outputs[0] if n.outputs else "", n) for n in file.nodes if id(n) not in gone]
    return replace(file, nodes=tuple(kept)) if joined else file


def _constant(name: str, constants: Mapping[str, Array], makers: Mapping[str, FileNode]) -> Array | None:
    """The constant that a value comes from, through operators that keep its elements; None where it has none."""
    for _ in range(MOST_STEPS):
        node = makers.get(name)
        if name in constants or node is None or node.kind not in _KEEP or not node.inputs:
            break
        name = node.inputs[0]
    return constants.get(name)
