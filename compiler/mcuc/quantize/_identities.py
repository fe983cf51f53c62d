"""Nodes that change nothing, as exporters of attention leave them: a choice that is always the same, zeros added."""

from __future__ import annotations

from dataclasses import replace

from mcuc.quantize.model import FloatModel, FloatNode


def identities(model: FloatModel) -> FloatModel:
    """The model without them."""
    nodes = []
    for node in model.nodes:
        value = _handed_on(node, model)
        if value and model.shapes.get(value) == model.shapes[node.outputs[0]]:
            node = FloatNode(node.name, "Identity", (value,), node.outputs, {})
        nodes.append(node)
    return _without_identities(replace(model, nodes=tuple(nodes)))


def _handed_on(node: FloatNode, model: FloatModel) -> str:
    """The value of run time that the node hands on as it is, "" where it does not."""
    if node.kind == "Where" and node.inputs[0] in model.constants:
        chosen = model.constants[node.inputs[0]]
        return node.inputs[1] if chosen.all() else "" if chosen.any() else node.inputs[2]
    if node.kind == "Add" and node.outputs[0] in model.real:
        for zeros, value in (node.inputs, node.inputs[::-1]):
            if zeros in model.constants and not model.constants[zeros].any():
                return value
    return ""


def _without_identities(model: FloatModel) -> FloatModel:
    """Identities go, but for those that give an output its name."""
    same: dict[str, str] = {}
    nodes = []
    for node in model.nodes:
        node = replace(node, inputs=tuple(same.get(n, n) for n in node.inputs))
        if node.kind == "Identity" and node.outputs[0] not in model.outputs:
            same[node.outputs[0]] = node.inputs[0]
        else:
            nodes.append(node)
    return replace(model, nodes=tuple(nodes))
