"""Runs of element-by-element nodes and reductions, and what they compute of one value, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc.ir import Array
from mcuc.quantize.model import FloatModel, FloatNode

Function = Callable[[Mapping[str, Any], list[Any]], Any]
Allowed = Callable[[FloatNode], bool]


def erf(x: Array) -> Array:
    """The error function."""
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -700, 700))))


def hard_swish(x: Array) -> Array:
    """Howard et al. 2019, section 5.2."""
    return np.asarray(x * np.clip(x / 6 + 0.5, 0, 1))


def gelu(x: Array) -> Array:
    """Hendrycks and Gimpel 2016."""
    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))))


def gelu_tanh(x: Array) -> Array:
    """The approximation of Hendrycks and Gimpel 2016."""
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _clip(attrs: Mapping[str, Any], a: list[Any]) -> Array:
    low = a[1] if len(a) > 1 and a[1] is not None else attrs.get("min", -np.inf)
    high = a[2] if len(a) > 2 and a[2] is not None else attrs.get("max", np.inf)
    return np.asarray(np.clip(a[0], low, high))


EVALUATE: dict[str, Function] = {
    "Abs": lambda o, a: np.abs(a[0]),
    "Add": lambda o, a: a[0] + a[1],
    "Clip": _clip,
    "Div": lambda o, a: a[0] / a[1],
    "Elu": lambda o, a: np.where(a[0] > 0, a[0], o.get("alpha", 1.0) * np.expm1(np.minimum(a[0], 0))),
    "Erf": lambda o, a: erf(a[0]),
    "Exp": lambda o, a: np.exp(np.minimum(a[0], 700)),
    "Gelu": lambda o, a: (gelu_tanh if o.get("approximate", b"none") == b"tanh" else gelu)(a[0]),
    "HardSigmoid": lambda o, a: np.clip(o.get("alpha", 0.2) * a[0] + o.get("beta", 0.5), 0, 1),
    "HardSwish": lambda o, a: hard_swish(a[0]),
    "Identity": lambda o, a: a[0],
    "LeakyRelu": lambda o, a: np.where(a[0] >= 0, a[0], o.get("alpha", 0.01) * a[0]),
    "Log": lambda o, a: np.log(a[0]),
    "Max": lambda o, a: np.maximum.reduce(np.broadcast_arrays(*a)),
    "Min": lambda o, a: np.minimum.reduce(np.broadcast_arrays(*a)),
    "Mul": lambda o, a: a[0] * a[1],
    "Neg": lambda o, a: -a[0],
    "Pow": lambda o, a: np.power(a[0], a[1]),
    "Reciprocal": lambda o, a: 1 / a[0],
    "Relu": lambda o, a: np.maximum(a[0], 0),
    "Sigmoid": lambda o, a: sigmoid(a[0]),
    "Softplus": lambda o, a: np.logaddexp(0, a[0]),
    "Softsign": lambda o, a: a[0] / (1 + np.abs(a[0])),
    "Sqrt": lambda o, a: np.sqrt(a[0]),
    "Sub": lambda o, a: a[0] - a[1],
    "Sum": lambda o, a: sum(a[1:], a[0]),
    "Tanh": lambda o, a: np.tanh(a[0]),
}
Reduction = Callable[[Any, tuple[int, ...]], Any]
REDUCE: dict[str, Reduction] = {
    "ReduceL2": lambda x, axes: np.sqrt((x * x).sum(axes)),
    "ReduceLogSumExp": lambda x, axes: np.log(np.exp(np.minimum(x, 700)).sum(axes)),
    "ReduceMax": lambda x, axes: x.max(axes),
    "ReduceMean": lambda x, axes: x.mean(axes),
    "ReduceSum": lambda x, axes: x.sum(axes),
    "ReduceSumSquare": lambda x, axes: (x * x).sum(axes),
}
MOST_NODES = 24  # of a spelling
RESHAPE = frozenset(("Cast", "Expand", "Flatten", "Reshape", "Squeeze", "Unsqueeze"))  # to the shape that is known


@dataclass(frozen=True)
class Region:
    """A run of nodes from one value to another; nodes in order."""

    source: str
    nodes: tuple[FloatNode, ...]


def regions(
    model: FloatModel,
    last: FloatNode,
    producers: Mapping[str, FloatNode],
    consumers: Mapping[str, list[tuple[FloatNode, int]]],
    order: Mapping[str, int],
    allowed: Allowed,
    most: int = MOST_NODES,
) -> Iterator[Region]:
    """Every run of allowed nodes that ends in `last`, growing; of `most` nodes at most."""
    inside = {last.name: last}
    frontier = set(runtime_inputs(last, model))
    while frontier and len(inside) <= most:
        if len(frontier) == 1:
            yield Region(next(iter(frontier)), tuple(sorted(inside.values(), key=lambda n: order[n.name])))
        newest = max(frontier, key=lambda v: order[producers[v].name] if v in producers else -1)
        node = producers.get(newest)
        if (
            node is None
            or not allowed(node)
            or newest in model.outputs
            or any(reader.name not in inside for reader, _ in consumers[newest])
        ):
            return
        inside[node.name] = node
        frontier = (frontier - {newest}) | set(runtime_inputs(node, model))


def runtime_inputs(node: FloatNode, model: FloatModel) -> list[str]:
    """The node's inputs that are no constants."""
    return [n for n in node.inputs if n and n not in model.constants]


def reduced_axes(node: FloatNode, model: FloatModel) -> tuple[int, ...] | None:
    """The axes of a reduction, counted from the front, in order; None where they are not constant."""
    rank = len(model.shapes.get(node.inputs[0], ()))
    if len(node.inputs) > 1 and node.inputs[1]:
        data = model.constants.get(node.inputs[1])
        if data is None:
            return None
        given = [int(a) for a in data.reshape(-1)]
    else:
        given = [int(a) for a in node.attrs.get("axes", ())]
    if not given:
        given = [] if int(node.attrs.get("noop_with_empty_axes", 0)) else list(range(rank))
    return tuple(sorted({a % rank for a in given})) if rank and all(-rank <= a < rank for a in given) else None


def evaluated(region: Region, model: FloatModel, x: Array) -> Array:
    """What the run computes of x, in float64."""
    values: dict[str, Any] = {region.source: x}
    with np.errstate(all="ignore"):
        for node in region.nodes:
            a: list[Any] = [
                None if not n else values[n] if n in values else _number(model.constants[n]) for n in node.inputs
            ]
            if node.kind in REDUCE:
                axes = reduced_axes(node, model)
                assert axes is not None
                result = np.reshape(REDUCE[node.kind](a[0], axes), model.shapes[node.outputs[0]])
            elif node.kind == "InstanceNormalization":
                result = _instances(a, float(node.attrs.get("epsilon", 1e-5)))
            elif node.kind == "Transpose":
                result = np.transpose(a[0], node.attrs.get("perm"))
            elif node.kind == "Expand":
                result = np.broadcast_to(a[0], model.shapes[node.outputs[0]])
            elif node.kind in RESHAPE:
                result = np.reshape(a[0], model.shapes[node.outputs[0]])
            else:
                result = EVALUATE[node.kind](node.attrs, a)
            values[node.outputs[0]] = result
    return np.asarray(values[region.nodes[-1].outputs[0]])


def _instances(a: Sequence[Any], epsilon: float) -> Array:
    x, (gamma, beta) = a[0], (np.reshape(v, (-1,) + (1,) * (a[0].ndim - 2)) for v in a[1:])
    axes = tuple(range(2, x.ndim))
    return np.asarray((x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon) * gamma + beta)


def _number(data: Array) -> Any:
    return float(data.reshape(-1)[0]) if data.size == 1 else np.asarray(data, np.float64)
