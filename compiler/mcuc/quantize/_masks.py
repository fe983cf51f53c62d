"""Masks in front of a softmax: additions of huge negative numbers become ones that eight bits hold.

Exporters mask with minus infinity, the least float or -1e9. Any number will do that leaves nothing of an element behind
the softmax; the least such one spends the fewest of the 256 steps that masked and other values share.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode, to_proto
from mcuc.quantize.runtime import Runtime

HUGE = -1e3  # no softmax's input is that small but for a mask
HALF_STEP = 1 / 512  # of a softmax's output in eight bits
SAMPLES = 64  # that are looked at


def plain_masks(model: FloatModel) -> FloatModel:
    """Choices by a constant condition as what they are: the value, or the value plus a mask. Nothing is added to one
    that zeros were added to."""
    constants, nodes = dict(model.constants), []
    for node in model.nodes:
        value, other = (*node.inputs[-2:], "", "")[:2]
        shape = model.shapes[node.outputs[0]]
        if node.kind == "Where" and node.inputs[0] in constants and value not in constants:
            keeps, hides = constants[node.inputs[0]], other
        elif node.kind == "Where" and node.inputs[0] in constants and other not in constants:
            keeps, hides, value = ~constants[node.inputs[0]], value, other
        elif node.kind == "Add" and (other in constants) != (value in constants):
            value, zeros = (value, other) if other in constants else (other, value)
            if not constants[zeros].any() and model.shapes.get(value) == shape:
                node = FloatNode(node.name, "Identity", (value,), node.outputs, {})
            nodes.append(node)
            continue
        else:
            nodes.append(node)
            continue
        if model.shapes.get(value) == shape and keeps.all():
            node = FloatNode(node.name, "Identity", (value,), node.outputs, {})
        elif model.shapes.get(value) == shape and hides in constants and (constants[hides][...] <= HUGE).all():
            mask = f"{node.outputs[0]}/mask"
            constants[mask] = np.where(keeps, np.float32(0), np.float32(-np.inf)).astype(np.float32)
            node = FloatNode(node.name, "Add", (value, mask), node.outputs, {})
        nodes.append(node)
    return _without_identities(replace(model, nodes=tuple(nodes), constants=constants))


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


def masks(model: FloatModel, runtime: Runtime) -> FloatModel:
    """Constant masks with the least number that hides, by what the samples (which the runtime has) put into them, and
    the sum clipped where an element counts for nothing."""
    consumers = model.consumers()
    found = {}
    for node in model.nodes:
        readers = consumers.get(node.outputs[0], [])
        alone = node.kind == "Add" and len(readers) == 1 and node.outputs[0] not in model.outputs
        constant = next((n for n in node.inputs if n in model.constants), "") if alone else ""
        if constant and readers[0][0].kind == "Softmax" and (model.constants[constant] <= HUGE).any():
            (x,) = (n for n in node.inputs if n != constant)
            found[node.name] = (x, constant, int(readers[0][0].attrs.get("axis", -1)))
    if not found:
        return model
    opened = runtime.open(to_proto(model, [x for x, _, _ in found.values()]))
    nodes, constants, shapes = [], dict(model.constants), dict(model.shapes)
    for node in model.nodes:
        if node.name not in found:
            nodes.append(node)
            continue
        x, constant, axis = found[node.name]
        (values,) = runtime.outputs(opened, [x], min(runtime.count, SAMPLES))
        mask = np.broadcast_to(constants[constant], shapes[node.outputs[0]])
        low, high, hidden = _bounds(values, mask, axis)
        names = [f"{node.outputs[0]}/{part}" for part in ("mask", "sum", "low", "high")]
        constants[names[0]] = _compact(constants[constant], hidden)
        constants |= {names[2]: np.array(low, np.float32), names[3]: np.array(high, np.float32)}
        shapes[names[1]] = shapes[node.outputs[0]]
        nodes.append(replace(node, inputs=(x, names[0]), outputs=(names[1],)))
        nodes.append(FloatNode(f"{node.name}/clip", "Clip", tuple(names[1:]), node.outputs, {}))
    runtime.close(opened)
    sums = {n for n in shapes if n not in model.shapes}
    return replace(model, nodes=tuple(nodes), constants=constants, shapes=shapes, real=model.real | sums)


def _compact(mask: Array, hidden: float) -> Array:
    return np.where(mask <= HUGE, np.float32(hidden), mask).astype(np.float32)


def _bounds(values: Array, mask: Array, axis: int) -> tuple[float, float, float]:
    """The least sum that counts, the largest, and what to add to what is hidden. values [n, ...], mask [...]."""
    open_ = mask > HUGE
    real = values.astype(np.float64) + np.where(open_, mask, 0.0)
    seen = np.broadcast_to(open_, real.shape)
    most = np.max(real, axis=axis, where=seen, initial=-np.inf)
    most = most[np.isfinite(most)]
    if not most.size:
        return -1.0, 0.0, -1.0
    count = int((~open_).sum(axis=axis).max())
    low = min(float(real[seen].min()), float(most.min()) + math.log(HALF_STEP / max(1, count)))
    high = float(most.max())
    return low, high, low - max(high, float(real[~seen].max(initial=low)))
