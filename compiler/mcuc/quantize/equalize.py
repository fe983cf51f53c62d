"""Cross-layer equalisation: channels of neighbouring layers scaled so that their weights are of one size.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1. It changes no
answer of the float network: a channel is divided by s in one layer and multiplied by s in the next, which ReLU allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, with_constants
from mcuc.quantize.roles import Weighted, roles

ROUNDS = 10
SETTLED = 1e-3
MOST = 8.0  # of a channel's scale in all: a nearly dead channel would have its bias, so its activations, blown up


def equalized(model: FloatModel) -> FloatModel:
    """The network with the weights of every such pair of layers equalised; the network itself where there is none."""
    weighted = roles(model).weighted
    pairs = list(_pairs(model, weighted))
    constants = {
        n: model.constants[n].astype(np.float64)
        for pair in pairs
        for layer in pair
        for n in (layer.weight, layer.bias)
        if n
    }
    total = [np.ones(model.constants[first.weight].shape[first.axis]) for first, _ in pairs]
    for _ in range(ROUNDS):
        moved = 0.0
        for i, (first, second) in enumerate(pairs):
            scale = _scale(_rows(constants[first.weight], first), _columns(constants[second.weight], second))
            scale = np.clip(total[i] * scale, 1 / MOST, MOST) / total[i]
            total[i] *= scale
            _divide(constants, first, scale)
            _multiply(constants, second, scale)
            moved = max(moved, float(np.abs(np.log(scale)).max()))
        if moved < SETTLED:
            break
    return with_constants(model, {n: a.astype(np.float32) for n, a in constants.items()})


def _pairs(model: FloatModel, weighted: Mapping[str, Weighted]) -> Iterator[tuple[Weighted, Weighted]]:
    """Layers of which one alone reads the other's output, with nothing or a ReLU between them; each constant in one
    layer only."""
    consumers = model.consumers()
    uses: dict[str, int] = {}
    for layer in weighted.values():
        for name in (layer.weight, layer.bias):
            uses[name] = uses.get(name, 0) + 1
    for layer in weighted.values():
        value = layer.name
        readers = consumers.get(value, [])
        if len(readers) == 1 and readers[0][0].kind == "Relu" and value not in model.outputs:
            value = readers[0][0].outputs[0]
            readers = consumers.get(value, [])
        if len(readers) != 1 or readers[0][1] != 0 or value in model.outputs:
            continue
        following = weighted.get(readers[0][0].outputs[0])
        if following is None or following.kind != layer.kind or layer.kind == "transposed":
            continue
        if all(uses[n] == 1 for n in (layer.weight, layer.bias, following.weight) if n):
            yield layer, following


def _rows(weight: Array, layer: Weighted) -> Array:
    """The largest magnitude of each output channel."""
    return np.asarray(np.abs(np.moveaxis(weight, layer.axis, 0)).reshape(weight.shape[layer.axis], -1).max(1))


def _columns(weight: Array, layer: Weighted) -> Array:
    """The largest magnitude of each input channel."""
    if layer.kind == "dense":
        return np.asarray(np.abs(weight).max(layer.axis))
    groups = int(layer.node.attrs.get("group", 1))
    oc, inner = weight.shape[:2]
    by_group = np.abs(weight).reshape(groups, oc // groups, inner, -1)
    return np.asarray(by_group.max((1, 3)).reshape(-1))


def _scale(rows: Array, columns: Array) -> Array:
    alive = (rows > 0) & (columns > 0)
    safe = np.where(alive, rows, 1.0), np.where(alive, columns, 1.0)
    return np.where(alive, np.sqrt(safe[0] / safe[1]), 1.0)


def _divide(constants: dict[str, Array], layer: Weighted, scale: Array) -> None:
    shape = [1] * constants[layer.weight].ndim
    shape[layer.axis] = -1
    constants[layer.weight] = constants[layer.weight] / scale.reshape(shape)
    if layer.bias:
        constants[layer.bias] = constants[layer.bias] / scale


def _multiply(constants: dict[str, Array], layer: Weighted, scale: Array) -> None:
    weight = constants[layer.weight]
    if layer.kind == "dense":
        shape = [1, 1]
        shape[1 - layer.axis] = -1
        constants[layer.weight] = weight * scale.reshape(shape)
        return
    groups = int(layer.node.attrs.get("group", 1))
    oc, inner = weight.shape[:2]
    each = scale.reshape(groups, 1, inner, 1)
    constants[layer.weight] = (weight.reshape(groups, oc // groups, inner, -1) * each).reshape(weight.shape)
