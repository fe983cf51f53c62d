"""Batch norms that no convolution took in (before an activation, behind a concatenation, first in the network, behind a
dense layer): folded into the dense layer in front, else a depthwise convolution of one tap, whose weights int8 holds
exactly."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode


def batch_norms(model: FloatModel) -> FloatModel:
    """The model without BatchNormalization, but those whose numbers are computed at run time."""
    if not any(n.kind == "BatchNormalization" for n in model.nodes):
        return model
    constants, shapes, real = dict(model.constants), dict(model.shapes), set(model.real)
    consumers = model.consumers()
    nodes: list[FloatNode] = []
    for node in model.nodes:
        if node.kind != "BatchNormalization" or any(n not in model.constants for n in node.inputs[1:5]):
            nodes.append(node)
            continue
        factor, shift = _affine(node, model)
        x, y = node.inputs[0], node.outputs[0]
        shape, name = model.shapes[x], f"{y}/norm"
        at = next((i for i, n in enumerate(nodes) if n.outputs[0] == x), -1)
        if at >= 0 and len(consumers[x]) == 1 and x not in model.outputs and _is_dense(nodes[at], model):
            nodes[at] = _folded(nodes[at], y, factor, shift, constants)
            continue
        constants[f"{name}/weight"] = factor.reshape(-1, *(1,) * max(len(shape) - 1, 2))
        constants[f"{name}/bias"] = shift
        taps = (1,) * max(len(shape) - 2, 1)
        attrs = {"group": len(factor), "kernel_shape": list(taps)}
        ends = (x, y)
        if len(shape) == 2:  # a convolution wants an axis behind the channels
            ends = (f"{name}/in", f"{name}/out")
            for label, size in ((ends[0], [*shape, 1]), (f"{y}/shape", list(shape))):
                constants[f"{label}/size"] = np.array(size, np.int64)
            shapes |= dict.fromkeys(ends, (*shape, 1))
            real |= set(ends)
            nodes.append(FloatNode(f"{name}/first", "Reshape", (x, f"{ends[0]}/size"), (ends[0],), {}))
        nodes.append(FloatNode(node.name, "Conv", (ends[0], f"{name}/weight", f"{name}/bias"), (ends[1],), attrs))
        if len(shape) == 2:
            nodes.append(FloatNode(f"{name}/last", "Reshape", (ends[1], f"{y}/shape/size"), (y,), {}))
    return replace(model, nodes=tuple(nodes), constants=constants, shapes=shapes, real=frozenset(real))


def _affine(node: FloatNode, model: FloatModel) -> tuple[Array, Array]:
    """What each channel is multiplied by, and what is added then."""
    scale, bias, mean, variance = (model.constants[n].astype(np.float64).reshape(-1) for n in node.inputs[1:5])
    factor = scale / np.sqrt(variance + float(node.attrs.get("epsilon", 1e-5)))
    return factor.astype(np.float32), (bias - mean * factor).astype(np.float32)


def _is_dense(node: FloatNode, model: FloatModel) -> bool:
    """A dense layer of a vector with constants and no factors."""
    known = [n for n in node.inputs[1:] if n in model.constants]
    shape = model.shapes[node.outputs[0]]
    if node.kind not in ("Gemm", "MatMul") or not known or len(known) < len(node.inputs) - 1 or len(shape) != 2:
        return False
    width = shape[1]
    bias = model.constants[known[1]] if len(known) > 1 else np.zeros(width, np.float32)
    plain = all(node.attrs.get(key, 1.0) == 1.0 for key in ("alpha", "beta")) and not node.attrs.get("transA")
    return plain and model.constants[known[0]].ndim == 2 and prod(bias.shape) == width


def _folded(node: FloatNode, y: str, factor: Array, shift: Array, constants: dict[str, Array]) -> FloatNode:
    weight = constants[node.inputs[1]]
    bias = constants[node.inputs[2]].reshape(-1) if len(node.inputs) > 2 and node.inputs[2] else np.float32(0)
    by_row = bool(node.attrs.get("transB"))
    constants[f"{y}/weight"] = np.asarray(weight * (factor[:, None] if by_row else factor), np.float32)
    constants[f"{y}/bias"] = np.asarray(bias * factor + shift, np.float32)
    attrs = {"transB": 1} if by_row else {}
    return FloatNode(node.name, "Gemm", (node.inputs[0], f"{y}/weight", f"{y}/bias"), (y,), attrs)
