"""Layer norms and softmax in elementary operators become one node again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode


@dataclass(frozen=True)
class _Found:
    """x: what is normalised, over its last axis; epsilon; gone: the nodes in between."""

    x: str
    epsilon: float
    gone: tuple[str, ...]


def layer_norms(model: FloatModel) -> FloatModel:
    """(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) over the last axis, times and plus constants where they
    follow, as LayerNormalization."""
    while True:
        producers = model.producers()
        for node in model.nodes:
            found = _normalised(node, model, producers)
            if found is not None:
                model = _with_affine(model, node, found)
                break
        else:
            return model


def _normalised(node: FloatNode, model: FloatModel, producers: Mapping[str, FloatNode]) -> _Found | None:
    """Whether the node divides centred values by their deviation."""
    if node.kind == "Div":
        top, bottom = producers.get(node.inputs[0]), producers.get(node.inputs[1])
        inverse: list[FloatNode] = []
    elif node.kind == "Mul":
        pair = [producers.get(n) for n in node.inputs]
        at = next((i for i, p in enumerate(pair) if p is not None and p.kind == "Reciprocal"), None)
        if at is None or pair[at] is None:
            return None
        reciprocal, top = pair[at], pair[1 - at]
        assert reciprocal is not None
        bottom, inverse = producers.get(reciprocal.inputs[0]), [reciprocal]
    else:
        return None
    if top is None or bottom is None or bottom.kind != "Sqrt" or top.kind != "Sub":
        return None
    add = producers.get(bottom.inputs[0])
    if add is None or add.kind != "Add":
        return None
    numbers = [n for n in add.inputs if n in model.constants and model.constants[n].size == 1]
    means = [producers[n] for n in add.inputs if n in producers and producers[n].kind == "ReduceMean"]
    if len(numbers) != 1 or len(means) != 1:
        return None
    square = producers.get(means[0].inputs[0])
    mean = producers.get(top.inputs[1])
    if square is None or mean is None or mean.kind != "ReduceMean" or mean.inputs[0] != top.inputs[0]:
        return None
    if not _squares(square, producers, top, model):
        return None
    rank = len(model.shapes[top.inputs[0]])
    axes = [_axes(m, model) for m in (mean, means[0])]
    if any(a is None or [i % rank for i in a] != [rank - 1] for a in axes):
        return None
    if any(not int(m.attrs.get("keepdims", 1)) for m in (mean, means[0])):
        return None
    twin = producers.get(square.inputs[0])
    gone = [mean, top, square, means[0], add, bottom, *inverse] + ([twin] if twin is not None else [])
    return _Found(top.inputs[0], float(model.constants[numbers[0]].reshape(-1)[0]), tuple(n.name for n in gone))


def _squares(square: FloatNode, producers: Mapping[str, FloatNode], top: FloatNode, model: FloatModel) -> bool:
    """Whether a node squares what `top` computes (exporters compute the difference twice)."""
    source = producers.get(square.inputs[0])
    same = source is not None and source.kind == "Sub" and source.inputs == top.inputs
    if square.kind == "Pow":
        power: Array | None = model.constants.get(square.inputs[1])
        return same and power is not None and power.size == 1 and float(power.reshape(-1)[0]) == 2.0
    return same and square.kind == "Mul" and square.inputs[0] == square.inputs[1]


def _axes(node: FloatNode, model: FloatModel) -> list[int] | None:
    if len(node.inputs) > 1 and node.inputs[1]:
        data = model.constants.get(node.inputs[1])
        return None if data is None else [int(a) for a in data.reshape(-1)]
    return [int(a) for a in node.attrs["axes"]] if "axes" in node.attrs else None


def _with_affine(model: FloatModel, last: FloatNode, found: _Found) -> FloatModel:
    """One node for the normalisation and the constants that it is multiplied by and that are added."""
    consumers = model.consumers()
    size = model.shapes[found.x][-1]
    constants, gone = dict(model.constants), set(found.gone)
    scale, shift = np.ones(size, np.float32), np.zeros(size, np.float32)
    for kind in ("Mul", "Add"):
        readers = consumers.get(last.outputs[0], [])
        if len(readers) != 1 or readers[0][0].kind != kind or last.outputs[0] in model.outputs:
            continue
        other = readers[0][0].inputs[1 - readers[0][1]]
        if other not in constants:
            continue
        along = constants[other].shape[-1:] in ((size,), (1,), ())
        if along and constants[other].size in (1, size):
            vector = np.broadcast_to(constants[other].reshape(-1), (size,)).astype(np.float32)
            scale, shift = (vector, shift) if kind == "Mul" else (scale, vector)
            gone.add(last.name)
            last = readers[0][0]
    names = f"{last.outputs[0]}/gamma", f"{last.outputs[0]}/beta"
    constants |= dict(zip(names, (scale, shift), strict=True))
    one = FloatNode(
        last.name, "LayerNormalization", (found.x, *names), last.outputs[:1], {"axis": -1, "epsilon": found.epsilon}
    )
    nodes = [one if n.name == last.name else n for n in model.nodes if n.name == last.name or n.name not in gone]
    return _without_dead(replace(model, nodes=tuple(nodes), constants=constants))


def _without_dead(model: FloatModel) -> FloatModel:
    needed, kept = set(model.outputs), []
    for node in reversed(model.nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed |= set(node.inputs)
    return replace(model, nodes=tuple(reversed(kept)))


def softmaxes(model: FloatModel) -> FloatModel:
    """exp(x - max) / sum, and x - max - log(sum), along one axis, as Softmax and LogSoftmax."""
    producers, nodes = model.producers(), []
    for node in model.nodes:
        found = _softmax(node, model, producers)
        if found is not None:
            kind, x, axis = found
            node = FloatNode(node.name, kind, (x,), node.outputs, {"axis": axis})
        nodes.append(node)
    return _without_dead(replace(model, nodes=tuple(nodes)))


def _softmax(node: FloatNode, model: FloatModel, producers: Mapping[str, FloatNode]) -> tuple[str, str, int] | None:
    """The operator, its input and its axis, where the node is the last of such a spelling."""
    if node.kind not in ("Div", "Sub") or any(n not in producers for n in node.inputs):
        return None
    top, bottom = (producers[n] for n in node.inputs)
    total = bottom
    if node.kind == "Sub":
        if bottom.kind != "Log" or bottom.inputs[0] not in producers:
            return None
        total = producers[bottom.inputs[0]]
    power = producers.get(total.inputs[0])
    shifted = None if power is None else producers.get(power.inputs[0])
    if power is None or shifted is None or shifted.kind != "Sub" or power.kind != "Exp":
        return None
    most = producers.get(shifted.inputs[1])
    if (power if node.kind == "Div" else shifted) is not top or most is None or most.inputs[0] != shifted.inputs[0]:
        return None
    if total.kind != "ReduceSum" or most.kind != "ReduceMax":
        return None
    rank = len(model.shapes[shifted.inputs[0]])
    axes = [_axes(n, model) for n in (total, most)]
    if any(a is None or len(a) != 1 for a in axes) or any(not int(n.attrs.get("keepdims", 1)) for n in (total, most)):
        return None
    first, second = ((a or [0])[0] % rank for a in axes)
    return ("Softmax" if node.kind == "Div" else "LogSoftmax", shifted.inputs[0], first) if first == second else None
