"""Layer norms, root-mean-square norms, group norms and softmax in elementary operators become one node again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode


RMS = "SimplifiedLayerNormalization"  # what ONNX Runtime calls RMSNormalization in every opset
GROUP_OPSET = 21  # from which GroupNormalization has a factor for every channel


@dataclass(frozen=True)
class _Found:
    """kind: of the norm. x: what is normalised, over its last axis; epsilon; gone: the nodes in between."""

    kind: str
    x: str
    epsilon: float
    gone: tuple[str, ...]


def layer_norms(model: FloatModel) -> FloatModel:
    """c / sqrt(mean(c^2) + epsilon) over the last axis, times and plus constants where they follow: with
    c = x - mean(x) as LayerNormalization, with any other c as the root-mean-square norm of c."""
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
    """Whether the node divides a value by its root mean square."""
    if node.kind not in ("Div", "Mul"):
        return None
    for i in (0, 1) if node.kind == "Mul" else (1,):
        top, inverse = node.inputs[1 - i], [] if node.kind == "Div" else _inverse(producers.get(node.inputs[i]), model)
        if inverse is None:
            continue
        root = producers.get(inverse[-1].inputs[1 if inverse[-1].kind == "Div" else 0] if inverse else node.inputs[i])
        found = None if root is None else _root_mean_square(root, top, model, producers)
        if found is not None:
            epsilon, gone = found
            return _of(top, epsilon, [*gone, *inverse], model, producers)
    return None


def _inverse(node: FloatNode | None, model: FloatModel) -> list[FloatNode] | None:
    """The node as a list where it is one over something; an empty one where it is a power that says so itself."""
    if node is None:
        return None
    if node.kind == "Reciprocal" or (node.kind == "Div" and _number(node.inputs[0], model) == 1.0):
        return [node]
    return [] if node.kind == "Pow" and _number(node.inputs[1], model) == -0.5 else None


def _root_mean_square(
    root: FloatNode, top: str, model: FloatModel, producers: Mapping[str, FloatNode]
) -> tuple[float, list[FloatNode]] | None:
    """The epsilon and the nodes where `root` is sqrt(mean(top^2) + epsilon), or that to the power of -1/2."""
    powers = {"Sqrt": True, "Pow": len(root.inputs) > 1 and _number(root.inputs[1], model) in (0.5, -0.5)}
    add = producers.get(root.inputs[0])
    if not powers.get(root.kind) or add is None or add.kind != "Add":
        return None
    numbers = [n for n in (_number(name, model) for name in add.inputs) if n is not None]
    means = [producers[n] for n in add.inputs if n in producers and producers[n].kind == "ReduceMean"]
    if len(numbers) != 1 or len(means) != 1 or not _over_last(means[0], top, model):
        return None
    square = producers.get(means[0].inputs[0])
    if square is None or not _squares(square, top, model, producers):
        return None
    return numbers[0], [root, add, means[0], square]


def _of(
    top: str, epsilon: float, gone: list[FloatNode], model: FloatModel, producers: Mapping[str, FloatNode]
) -> _Found:
    """The norm of `top`: of what its mean was subtracted from, where it is such a difference."""
    centred = producers.get(top)
    mean = producers.get(centred.inputs[1]) if centred is not None and centred.kind == "Sub" else None
    if centred is None or mean is None or mean.kind != "ReduceMean" or mean.inputs[0] != centred.inputs[0]:
        return _Found(RMS, top, epsilon, tuple(n.name for n in gone))
    if not _over_last(mean, centred.inputs[0], model):
        return _Found(RMS, top, epsilon, tuple(n.name for n in gone))
    return _Found("LayerNormalization", centred.inputs[0], epsilon, tuple(n.name for n in gone))


def _over_last(mean: FloatNode, of: str, model: FloatModel) -> bool:
    """Whether a reduction is over the last axis, which it keeps."""
    axes, rank = _axes(mean, model), len(model.shapes.get(of, ()))
    return axes is not None and [i % rank for i in axes] == [rank - 1] and bool(int(mean.attrs.get("keepdims", 1)))


def _number(name: str, model: FloatModel) -> float | None:
    """The constant of one element, None where it is none."""
    data = model.constants.get(name)
    return None if data is None or data.size != 1 else float(data.reshape(-1)[0])


def _squares(square: FloatNode, top: str, model: FloatModel, producers: Mapping[str, FloatNode]) -> bool:
    """Whether a node squares `top`, or the same difference (exporters compute it twice)."""
    source, other = producers.get(square.inputs[0]), producers.get(top)
    same = square.inputs[0] == top or (
        source is not None and other is not None and source.kind == other.kind == "Sub" and source.inputs == other.inputs
    )
    if square.kind == "Pow":
        return same and _number(square.inputs[1], model) == 2.0
    return same and square.kind == "Mul" and square.inputs[0] == square.inputs[1]


def _axes(node: FloatNode, model: FloatModel) -> list[int] | None:
    if len(node.inputs) > 1 and node.inputs[1]:
        data = model.constants.get(node.inputs[1])
        return None if data is None else [int(a) for a in data.reshape(-1)]
    return [int(a) for a in node.attrs["axes"]] if "axes" in node.attrs else None


def _affine(
    model: FloatModel, last: FloatNode, kinds: Sequence[str], size: int, rest: int
) -> tuple[FloatNode, list[str], Array, Array]:
    """What a value is multiplied by and what is added to it behind `last`, as vectors of `size` elements each of which
    goes for `rest` others that follow: the last such node, the names of those before it, factors, offsets."""
    consumers, gone = model.consumers(), []
    scale, shift = np.ones(size, np.float32), np.zeros(size, np.float32)
    for kind in kinds:
        readers = consumers.get(last.outputs[0], [])
        if len(readers) != 1 or readers[0][0].kind != kind or last.outputs[0] in model.outputs:
            continue
        node, position = readers[0]
        data = model.constants.get(node.inputs[1 - position])
        if data is None or model.shapes[node.outputs[0]] != model.shapes[last.outputs[0]]:
            continue
        along = (1,) * (len(model.shapes[last.outputs[0]]) - data.ndim) + data.shape
        if data.size == 1 or (data.size == size == along[len(along) - 1 - rest]):
            vector = np.broadcast_to(data.reshape(-1), (size,)).astype(np.float32)
            scale, shift = (vector, shift) if kind == "Mul" else (scale, vector)
            gone.append(last.name)
            last = node
    return last, gone, scale, shift


def _with_affine(model: FloatModel, node: FloatNode, found: _Found) -> FloatModel:
    """One node for the normalisation and the constants that it is multiplied by and that are added."""
    kinds = ("Mul", "Add") if found.kind == "LayerNormalization" else ("Mul",)
    last, gone, scale, shift = _affine(model, node, kinds, model.shapes[found.x][-1], 0)
    names = (f"{last.outputs[0]}/gamma", f"{last.outputs[0]}/beta")[: len(kinds)]
    constants = {**model.constants, **dict(zip(names, (scale, shift), strict=False))}
    one = FloatNode(last.name, found.kind, (found.x, *names), last.outputs[:1], {"axis": -1, "epsilon": found.epsilon})
    return _with_node(model, one, {*found.gone, *gone}, constants)


def _with_node(model: FloatModel, one: FloatNode, gone: Set[str], constants: Mapping[str, Array]) -> FloatModel:
    """The node in the place of the one of its name; of the others those stay that something else reads."""
    nodes = [one if n.name == one.name else n for n in model.nodes]
    read = {i for n in nodes if n.name not in gone for i in n.inputs} | set(model.outputs)
    kept = [n for n in nodes if n.name not in gone or read & set(n.outputs)]
    return _without_dead(replace(model, nodes=tuple(kept), constants=constants))


def group_norms(model: FloatModel) -> FloatModel:
    """Reshape to [batch, groups, rest], InstanceNormalization, Reshape back, a factor and an offset for every channel:
    what PyTorch's exporters write for a GroupNorm, as one GroupNormalization."""
    for node in model.nodes:
        consumers, producers = model.consumers(), model.producers()
        found = None if node.kind != "InstanceNormalization" else _grouped(node, model, producers, consumers)
        if found is None:
            continue
        x, groups, back = found
        channels, rest = model.shapes[x][1], len(model.shapes[x]) - 2
        last, gone, scale, shift = _affine(model, back, ("Mul", "Add"), channels, rest)
        names = f"{last.outputs[0]}/gamma", f"{last.outputs[0]}/beta"
        inner = [np.repeat(model.constants[n], channels // groups) for n in node.inputs[1:3]]
        vectors = (inner[0] * scale, inner[1] * scale + shift)
        constants = {**model.constants, **{n: v.astype(np.float32) for n, v in zip(names, vectors, strict=True)}}
        attrs = {"epsilon": float(node.attrs.get("epsilon", 1e-5)), "num_groups": groups}
        one = FloatNode(last.name, "GroupNormalization", (x, *names), last.outputs, attrs)
        model = replace(_with_node(model, one, set(gone), constants), opset=max(model.opset, GROUP_OPSET))
    return model


def _grouped(
    node: FloatNode,
    model: FloatModel,
    producers: Mapping[str, FloatNode],
    consumers: Mapping[str, list[tuple[FloatNode, int]]],
) -> tuple[str, int, FloatNode] | None:
    """What is normalised, in how many groups, and the Reshape back to its shape."""
    before, readers = producers.get(node.inputs[0]), consumers.get(node.outputs[0], [])
    if before is None or before.kind != "Reshape" or len(readers) != 1 or readers[0][0].kind != "Reshape":
        return None
    if node.outputs[0] in model.outputs or any(n not in model.constants for n in node.inputs[1:3]):
        return None
    x, back = before.inputs[0], readers[0][0]
    shape, inside = model.shapes.get(x, ()), model.shapes[before.outputs[0]]
    fits = len(shape) >= 3 and model.shapes[back.outputs[0]] == shape and len(inside) >= 3 and inside[0] == shape[0]
    return (x, inside[1], back) if fits and shape[1] % inside[1] == 0 else None


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
