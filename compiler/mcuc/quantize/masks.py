"""What a softmax must not look at is filled with -inf, -1e9 or the like; integers that reach so far hold nothing else.

Such a number only has to lie so far below the others that its exponential rounds to nothing. It becomes the least value
seen of what is not masked, less GAP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode, to_proto
from mcuc.quantize.runtime import Runtime

GAP = 7.0  # exp(-7) < 1 / 512, half a step of a softmax's output
FAR = -1000.0  # below which a number that is added is a mask and no bias
_MOVES = ("Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def bounded_masks(model: FloatModel, runtime: Runtime) -> FloatModel:
    """The model with such constants brought near: of a Where in front of a softmax, of an Add (a constant mask becomes
    a Where), and of what computes the mask that is added. The runtime holds the calibration samples."""
    consumers, producers = model.consumers(), model.producers()
    found = {}  # node -> what it masks
    for node in model.nodes:
        real = [n for n in node.inputs[-2:] if n not in model.constants and n in model.real and n not in model.inputs]
        if node.kind not in ("Add", "Where") or not _softmax_only(node.outputs[0], consumers):
            continue
        scores = [n for n in real if not _is_mask(n, model, producers)]
        others = [n for n in node.inputs[-2:] if n in model.constants or n not in scores]
        if len(scores) == len(others) == 1:
            found[node.outputs[0]] = (node, scores[0])
    names = sorted({x for _, x in found.values()})
    if not names:
        return model
    opened = runtime.open(to_proto(model, names))
    seen = dict(zip(names, runtime.extents(opened, names), strict=True))
    runtime.close(opened)
    changed: dict[str, FloatNode] = {}
    bounds: dict[str, float] = {}  # source of a mask -> the least that it needs to hold
    constants = dict(model.constants)
    for node, x in found.values():
        low, high = (float(v) for v in seen[x])
        other = next((n for n in node.inputs[-2:] if n != x), "")
        if not np.isfinite((low, high)).all():
            continue
        if node.kind == "Where" and other in model.constants:
            changed[node.outputs[0]] = _with(node, other, np.maximum(model.constants[other], low - GAP), constants)
        elif node.kind == "Add" and other in model.constants:
            changed[node.outputs[0]] = _added(node, other, x, low, high, constants)
        elif node.kind == "Add" and (source := _source(other, producers)) is not None:
            least = low - high - GAP
            bounds[source.outputs[0]] = min(least, bounds.get(source.outputs[0], least))
    for value, least in bounds.items():
        node = producers[value]
        for name in {n for n in node.inputs if n in model.constants and _far(model.constants[n])}:
            node = _with(node, name, np.maximum(model.constants[name], np.float32(least)), constants)
        changed[value] = node
    nodes = tuple(changed.get(n.outputs[0], n) for n in model.nodes)
    return replace(model, nodes=nodes, constants=constants)


def _with(node: FloatNode, name: str, data: Array, constants: dict[str, Array]) -> FloatNode:
    """The node with another constant in that one's place."""
    label = f"{node.outputs[0]}/mask{node.inputs.index(name)}"
    constants[label] = np.asarray(data, np.float32)
    return replace(node, inputs=tuple(label if n == name else n for n in node.inputs))


def _added(node: FloatNode, name: str, x: str, low: float, high: float, constants: dict[str, Array]) -> FloatNode:
    """An addition of a constant mask: a Where, if it adds nothing else."""
    mask = constants[name]
    far = mask < FAR
    if not far.any():
        return node
    if mask[~far].any():
        return _with(node, name, np.maximum(mask, low - high + float(mask[~far].min()) - GAP), constants)
    label = f"{node.outputs[0]}/mask"
    constants[label], constants[f"{label}/number"] = far, np.array(low - GAP, np.float32)
    return replace(node, kind="Where", inputs=(label, f"{label}/number", x), attrs={})


def _far(data: Array) -> bool:
    return data.dtype == np.float32 and bool(data.size) and bool((data < FAR).any())


def _is_mask(name: str, model: FloatModel, producers: Mapping[str, FloatNode]) -> bool:
    """Whether a value is 0 or far below: a product with a far constant, or a choice between constants."""
    source = _source(name, producers)
    if source is None or source.kind not in ("Mul", "Where"):
        return False
    known = [n for n in source.inputs[-2:] if n in model.constants]
    return len(known) == (1 if source.kind == "Mul" else 2) and any(_far(model.constants[n]) for n in known)


def _source(name: str, producers: Mapping[str, FloatNode]) -> FloatNode | None:
    node = producers.get(name)
    while node is not None and node.kind in _MOVES:
        node = producers.get(node.inputs[0])
    return node


def _softmax_only(value: str, consumers: Mapping[str, list[tuple[FloatNode, int]]]) -> bool:
    """Whether a softmax is all that reads a value, behind what only moves its elements."""
    seen, waiting = {value}, [value]
    while waiting:
        readers = [node for node, _ in consumers.get(waiting.pop(), [])]
        moved = {n.outputs[0] for n in readers if n.kind in _MOVES}
        if not readers or any(n.kind not in ("Softmax", "LogSoftmax", *_MOVES) for n in readers):
            return False
        waiting += moved - seen
        seen |= moved
    return True
