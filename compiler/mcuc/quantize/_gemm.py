"""Gemm in its parts: a product of matrices, factors in the constants, and what is added."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcuc.quantize._steps import Steps
from mcuc.quantize.model import FloatModel, FloatNode


def gemms(model: FloatModel) -> FloatModel:
    """Each Gemm with constant weights as one without factors, with a vector of biases or none; what else is added is
    so by a node of its own (ONNX Runtime joins what another node computes to a Gemm). One without is a MatMul."""
    nodes: list[FloatNode] = []
    for node in model.nodes:
        if node.kind != "Gemm":
            nodes.append(node)
            continue
        steps = Steps(node.outputs[0])
        if node.inputs[1] in model.constants and node.inputs[0] not in model.constants:
            _dense(steps, node, model)
        else:
            _product(steps, node, model)
        nodes += steps.instead_of(node)
        model = steps.added(model)
    return replace(model, nodes=tuple(nodes))


def _dense(steps: Steps, node: FloatNode, model: FloatModel) -> None:
    """Alpha in the weights, beta in the biases."""
    weights, shape = node.inputs[1], model.shapes[node.outputs[0]]
    if (alpha := float(node.attrs.get("alpha", 1.0))) != 1.0:
        weights = steps.const(model.constants[weights] * np.float32(alpha))
    attrs = {k: v for k, v in node.attrs.items() if k not in ("alpha", "beta")}
    third = node.inputs[2] if len(node.inputs) > 2 else ""
    data = model.constants.get(third)
    if data is not None and (data.size == 1 or (data.size == shape[1] and data.shape[-1:] == shape[1:])):
        bias = np.broadcast_to(data.reshape(-1) * np.float32(node.attrs.get("beta", 1.0)), shape[1:])
        steps.put("Gemm", (node.inputs[0], weights, steps.const(np.ascontiguousarray(bias))), shape, attrs)
        return
    _sum(steps, node, steps.put("Gemm", (node.inputs[0], weights), shape, attrs), model)


def _product(steps: Steps, node: FloatNode, model: FloatModel) -> None:
    """Of two values, or of constants times a value."""
    sides = []
    for name, turned in zip(node.inputs[:2], ("transA", "transB"), strict=True):
        if node.attrs.get(turned) and name in model.constants:
            name = steps.const(np.ascontiguousarray(model.constants[name].T))
        elif node.attrs.get(turned):
            name, _ = steps.moved(name, model.shapes[name], [1, 0])
        sides.append(name)
    shape = model.shapes[node.outputs[0]]
    product = steps.put("MatMul", tuple(sides), shape)
    if (alpha := float(node.attrs.get("alpha", 1.0))) != 1.0:
        product = steps.put("Mul", (product, steps.const(np.array(alpha, np.float32))), shape)
    _sum(steps, node, product, model)


def _sum(steps: Steps, node: FloatNode, product: str, model: FloatModel) -> None:
    """beta times the third operand behind the product."""
    third, beta = node.inputs[2] if len(node.inputs) > 2 else "", np.float32(node.attrs.get("beta", 1.0))
    if third in model.constants:
        third = steps.const(model.constants[third] * beta)
    elif third and beta != 1:
        third = steps.put("Mul", (third, steps.const(np.array(beta))), model.shapes[third])
    if third:
        steps.put("Add", (product, third), model.shapes[node.outputs[0]])
