"""Nodes for the norms and softmaxes that were recognised, with what ONNX needs around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcuc.ir import Array
from mcuc.quantize._steps import Steps
from mcuc.quantize.model import FloatModel, FloatNode

RMS = "SimplifiedLayerNormalization"  # what ONNX Runtime calls RMSNormalization in every opset
GROUP_OPSET = 21  # from which GroupNormalization has a factor for every channel
TINY = 1e-12  # for no epsilon at all


@dataclass(frozen=True, eq=False)
class RowFunction:
    """kind: LayerNormalization, RMS, GroupNormalization, Softmax or LogSoftmax, over these axes of x; groups: of the
    channels, which lie on that axis. gamma, beta: of x's rank, 1 along the axes on which they do not depend. perm: of
    the result's axes, () for none."""

    kind: str
    x: str
    axes: tuple[int, ...]
    epsilon: float = 0.0
    gamma: Array | None = None
    beta: Array | None = None
    groups: int = 0
    channels: int = 1
    perm: tuple[int, ...] = ()


def depends_on(values: Array | None) -> set[int]:
    return set() if values is None else {i for i, n in enumerate(values.shape) if n > 1}


def with_function(model: FloatModel, last: FloatNode, found: RowFunction) -> FloatModel:
    """The model with `last` as the function that was found, between nodes that TFLite and ONNX need around it."""
    if found.perm:
        value = f"{last.outputs[0]}/rows"
        first = replace(last, name=f"{last.name}/rows", outputs=(value,))
        turned = FloatNode(last.name, "Transpose", (value,), last.outputs, {"perm": list(found.perm)})
        shapes = {value: model.shapes[found.x]}
        return with_function(_with_nodes(model, last, [first, turned], {}, shapes), first, replace(found, perm=()))
    if found.gamma is None or found.beta is None:
        one = FloatNode(last.name, found.kind, (found.x,), last.outputs, {"axis": found.axes[0]})
        return _with_nodes(model, last, [one], {})
    if found.groups:
        return _with_groups(model, last, found)
    shape, axes = model.shapes[found.x], found.axes
    rank, depends = len(shape), depends_on(found.gamma) | depends_on(found.beta)
    count = int(np.prod([shape[a] for a in axes]))
    gamma, beta = found.gamma, found.beta
    offset = bool(beta.any())
    even = found.kind == RMS and found.epsilon < 1e-8 and len(axes) == 1 and not offset and not depends
    if even and np.isclose(gamma.reshape(-1)[0], count**-0.5, 1e-4):
        one = FloatNode(last.name, "LpNormalization", (found.x,), last.outputs, {"axis": axes[0], "p": 2})
        return _with_nodes(model, last, [one], {})
    tail = axes == tuple(range(rank - len(axes), rank)) and depends <= set(axes)
    if not tail and found.kind == "LayerNormalization" and axes == tuple(range(2, rank)) and depends <= {1}:
        constants = _channels(last.name, found, shape[1])
        inputs, attrs = (found.x, *constants), {"epsilon": found.epsilon}
        one = FloatNode(last.name, "InstanceNormalization", inputs, last.outputs, attrs)
        return _with_nodes(model, last, [one], constants)
    return _with_norm(model, last, found, offset)


def _channels(name: str, found: RowFunction, count: int) -> dict[str, Array]:
    """Gamma and beta as vectors of the channels."""
    assert found.gamma is not None and found.beta is not None
    both = {f"{name}/gamma": found.gamma, f"{name}/beta": found.beta}
    return {k: np.broadcast_to(v.reshape(-1), (count,)).copy() for k, v in both.items()}


def _with_groups(model: FloatModel, last: FloatNode, found: RowFunction) -> FloatModel:
    """One GroupNormalization, the channels being moved behind the batch for it."""
    shape = model.shapes[found.x]
    nodes: list[FloatNode] = []
    shapes: dict[str, tuple[int, ...]] = {}
    order = [0, found.channels, *(a for a in range(1, len(shape)) if a != found.channels)]
    names = (found.x, last.outputs[0])
    if found.channels != 1:
        names = (f"{last.outputs[0]}/channels", f"{last.outputs[0]}/groups")
        nodes.append(FloatNode(f"{last.name}/to", "Transpose", (found.x,), names[:1], {"perm": order}))
        shapes = dict.fromkeys(names, tuple(shape[a] for a in order))
    constants = _channels(last.name, found, shape[found.channels])
    attrs = {"epsilon": found.epsilon, "num_groups": found.groups}
    nodes.append(FloatNode(f"{last.name}/norm", "GroupNormalization", (names[0], *constants), names[1:], attrs))
    if found.channels != 1:
        back = [order.index(a) for a in range(len(shape))]
        nodes.append(FloatNode(f"{last.name}/from", "Transpose", names[1:], last.outputs, {"perm": back}))
    nodes[-1] = replace(nodes[-1], name=last.name)
    changed = _with_nodes(model, last, nodes, constants, shapes)
    return replace(changed, opset=max(model.opset, GROUP_OPSET))


def _with_norm(model: FloatModel, last: FloatNode, found: RowFunction, offset: bool) -> FloatModel:
    """The norm over the last axes, those being moved there first; factors that differ between rows as a node of their
    own."""
    assert found.gamma is not None and found.beta is not None
    shape, name, value = model.shapes[found.x], last.name, found.x
    rank, depends = len(shape), depends_on(found.gamma) | depends_on(found.beta)
    order = [a for a in range(rank) if a not in found.axes] + list(found.axes)
    steps, constants = Steps(last.outputs[0]), dict[str, Array]()
    value, turned = steps.moved(value, shape, order)
    inside = depends <= set(found.axes)
    tail = tuple(shape[a] for a in found.axes)
    ones: Array = np.ones((1,) * rank, np.float32)
    vectors: dict[str, Array] = {"gamma": found.gamma, "beta": found.beta} if inside else {"gamma": ones}
    if found.kind == RMS:
        vectors.pop("beta", None)
    for key, data in vectors.items():
        row = data.transpose(order).reshape((1,) * (rank - len(tail)) + data.transpose(order).shape[rank - len(tail) :])
        constants[f"{name}/{key}"] = np.broadcast_to(row, (1,) * (rank - len(tail)) + tail).reshape(tail).copy()
    attrs = {"axis": -len(tail), "epsilon": max(found.epsilon, TINY)}
    value = steps.put(found.kind, (value, *constants), turned, attrs)
    value, _ = steps.moved(value, turned, [order.index(a) for a in range(rank)])
    apart = {} if inside else {"Mul": found.gamma}
    apart |= {"Add": found.beta} if offset and (not inside or found.kind == RMS) else {}
    for kind, values in apart.items():
        constants[f"{name}/{kind}"] = values
        value = steps.put(kind, (value, f"{name}/{kind}"), shape)
    nodes = steps.instead_of(last)
    return _with_nodes(model, last, nodes, constants, steps.shapes)


def _with_nodes(
    model: FloatModel,
    last: FloatNode,
    nodes: Sequence[FloatNode],
    constants: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]] = {},
) -> FloatModel:
    """The nodes in the place of `last`; what nobody reads any more goes."""
    made = [m for n in model.nodes for m in (nodes if n.name == last.name else [n])]
    return _without_dead(
        replace(
            model,
            nodes=tuple(made),
            constants={**model.constants, **constants},
            shapes={**model.shapes, **shapes},
            real=model.real | frozenset(shapes),
        )
    )


def _without_dead(model: FloatModel) -> FloatModel:
    needed, kept = set(model.outputs), []
    for node in reversed(model.nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed |= set(node.inputs)
    return replace(model, nodes=tuple(reversed(kept)))
