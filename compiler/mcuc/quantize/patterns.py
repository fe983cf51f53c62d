"""Composite functions that exporters spell out in elementary operators become one node again.

A run of element-by-element nodes that depends on one value is recognised by what it computes, not by how it is spelled:
it is evaluated on a grid and compared with the functions that have an operator. Layer norms and softmax are
recognised by their shape (_norms.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcuc.ir import Array
from mcuc.quantize._norms import layer_norms, softmaxes
from mcuc.quantize.batch_norms import batch_norms
from mcuc.quantize.model import FloatModel, FloatNode

GRID = np.concatenate([np.linspace(-12, 12, 2401), np.linspace(-60, 60, 121)])
PRODUCT = "/product"  # of a Gemm whose constant is added apart
CLOSE = 2e-5  # absolute and relative: constants in files are float32
Function = Callable[[Mapping[str, Any], list[Any]], Any]


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -700, 700))))


def _hard_swish(x: Array) -> Array:
    return np.asarray(x * np.clip(x / 6 + 0.5, 0, 1))


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + _erf(x / math.sqrt(2))))


def _gelu_tanh(x: Array) -> Array:
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
    "Erf": lambda o, a: _erf(a[0]),
    "Exp": lambda o, a: np.exp(np.minimum(a[0], 700)),
    "Gelu": lambda o, a: (_gelu_tanh if o.get("approximate", b"none") == b"tanh" else _gelu)(a[0]),
    "HardSigmoid": lambda o, a: np.clip(o.get("alpha", 0.2) * a[0] + o.get("beta", 0.5), 0, 1),
    "HardSwish": lambda o, a: _hard_swish(a[0]),
    "Identity": lambda o, a: a[0],
    "LeakyRelu": lambda o, a: np.where(a[0] >= 0, a[0], o.get("alpha", 0.01) * a[0]),
    "Max": lambda o, a: np.maximum.reduce(a),
    "Min": lambda o, a: np.minimum.reduce(a),
    "Mul": lambda o, a: a[0] * a[1],
    "Neg": lambda o, a: -a[0],
    "Pow": lambda o, a: np.power(a[0], a[1]),
    "Reciprocal": lambda o, a: 1 / a[0],
    "Relu": lambda o, a: np.maximum(a[0], 0),
    "Sigmoid": lambda o, a: _sigmoid(a[0]),
    "Softplus": lambda o, a: np.logaddexp(0, a[0]),
    "Sqrt": lambda o, a: np.sqrt(a[0]),
    "Sub": lambda o, a: a[0] - a[1],
    "Tanh": lambda o, a: np.tanh(a[0]),
}


@dataclass(frozen=True)
class Known:
    """A function with an ONNX operator of its own."""

    kind: str
    attrs: Mapping[str, Any]
    function: Callable[[Any], Any]


KNOWN = (
    Known("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    Known("HardSwish", {}, _hard_swish),
    Known("Gelu", {"approximate": "none"}, _gelu),
    Known("Gelu", {"approximate": "tanh"}, _gelu_tanh),
    Known("Mish", {}, lambda x: x * np.tanh(np.logaddexp(0, x))),
    Known("Softplus", {}, lambda x: np.logaddexp(0, x)),
    Known("Sigmoid", {}, _sigmoid),
    Known("Tanh", {}, np.tanh),
    Known("Relu", {}, lambda x: np.maximum(x, 0)),
)


def recognised(model: FloatModel) -> FloatModel:
    """The network with composites as single nodes, batch norms as layers, constants divided by as factors, Gemm's
    factors in its constants."""
    model = _functions(softmaxes(layer_norms(batch_norms(model))))
    return _factors(model)


@dataclass(frozen=True)
class Region:
    """A run of element-by-element nodes from one value to another; nodes in order."""

    source: str
    nodes: tuple[FloatNode, ...]


def regions(
    model: FloatModel,
    last: FloatNode,
    producers: Mapping[str, FloatNode],
    consumers: Mapping[str, list[tuple[FloatNode, int]]],
    order: Mapping[str, int],
) -> Iterator[Region]:
    """Every run that ends in `last`, growing."""
    inside = {last.name: last}
    frontier = set(_runtime(last, model))
    while frontier:
        if len(frontier) == 1:
            yield Region(next(iter(frontier)), tuple(sorted(inside.values(), key=lambda n: order[n.name])))
        newest = max(frontier, key=lambda v: order[producers[v].name] if v in producers else -1)
        node = producers.get(newest)
        if (
            node is None
            or not _elementwise(node, model)
            or newest in model.outputs
            or any(reader.name not in inside for reader, _ in consumers[newest])
        ):
            return
        inside[node.name] = node
        frontier = (frontier - {newest}) | set(_runtime(node, model))


def _elementwise(node: FloatNode, model: FloatModel) -> bool:
    """Whether each output element depends on one element of one value, besides constant numbers."""
    constants = [n for n in node.inputs if n and n in model.constants]
    return (
        node.kind in EVALUATE
        and all(model.constants[n].size == 1 for n in constants)
        and all(model.shapes.get(n) == model.shapes.get(node.outputs[0]) for n in _runtime(node, model))
    )


def _runtime(node: FloatNode, model: FloatModel) -> list[str]:
    return [n for n in node.inputs if n and n not in model.constants]


def evaluated(region: Region, model: FloatModel, x: Array) -> Array:
    """What the run computes of x, in float64."""
    values: dict[str, Any] = {region.source: x}
    with np.errstate(all="ignore"):
        for node in region.nodes:
            arguments = [
                None if not n else values[n] if n in values else float(model.constants[n].reshape(-1)[0])
                for n in node.inputs
            ]
            values[node.outputs[0]] = EVALUATE[node.kind](node.attrs, arguments)
    return np.asarray(values[region.nodes[-1].outputs[0]])


def _functions(model: FloatModel) -> FloatModel:
    """Runs that compute a known function, the longest first, until nothing changes."""
    while True:
        producers, consumers = model.producers(), model.consumers()
        order = {n.name: i for i, n in enumerate(model.nodes)}
        for last in reversed(model.nodes):
            if not _elementwise(last, model):
                continue
            found = [r for r in regions(model, last, producers, consumers, order) if len(r.nodes) > 1]
            match = next(((r, k) for r in reversed(found) for k in KNOWN if _same(r, k, model)), None)
            if match is not None:
                model = _replaced(model, *match)
                break
        else:
            return model


def _same(region: Region, known: Known, model: FloatModel) -> bool:
    got, wanted = evaluated(region, model, GRID), known.function(GRID)
    return got.shape == wanted.shape and bool(np.allclose(got, wanted, CLOSE, CLOSE))


def _replaced(model: FloatModel, region: Region, known: Known) -> FloatModel:
    gone, last = {n.name for n in region.nodes}, region.nodes[-1]
    one = FloatNode(last.name, known.kind, (region.source,), last.outputs, known.attrs)
    return replace(model, nodes=tuple(one if n is last else n for n in model.nodes if n is last or n.name not in gone))


def _factors(model: FloatModel) -> FloatModel:
    """Division by a constant as multiplication, subtraction as addition; alpha and beta of Gemm in its constants."""
    constants, nodes = dict(model.constants), []
    for node in model.nodes:
        second = node.inputs[1] if len(node.inputs) > 1 else ""
        if node.kind in ("Div", "Sub") and second in model.constants and constants[second].dtype == np.float32:
            name = f"{node.outputs[0]}/operand"
            constants[name] = np.float32(1) / constants[second] if node.kind == "Div" else -constants[second]
            node = replace(node, kind="Mul" if node.kind == "Div" else "Add", inputs=(node.inputs[0], name))
        nodes += _plain_gemm(node, constants) if node.kind == "Gemm" and second in constants else [node]
    made = {o for n in nodes for o in n.outputs}
    shapes = {f"{v}{PRODUCT}": shape for v, shape in model.shapes.items() if f"{v}{PRODUCT}" in made}
    return replace(
        model,
        nodes=tuple(nodes),
        constants=constants,
        shapes={**model.shapes, **shapes},
        real=model.real | frozenset(shapes),
    )


def _plain_gemm(node: FloatNode, constants: dict[str, Array]) -> list[FloatNode]:
    """Without factors; a constant that is no vector of the outputs is added by a node of its own."""
    alpha, beta = float(node.attrs.get("alpha", 1.0)), float(node.attrs.get("beta", 1.0))
    inputs = list(node.inputs)
    if alpha != 1.0:
        inputs[1] = f"{node.outputs[0]}/weights"
        constants[inputs[1]] = constants[node.inputs[1]] * np.float32(alpha)
    if len(inputs) > 2 and inputs[2] in constants:
        oc = constants[inputs[1]].shape[0 if node.attrs.get("transB") else 1]
        bias = np.broadcast_to(
            constants[inputs[2]] * np.float32(beta), np.broadcast_shapes(constants[inputs[2]].shape, (1, oc))
        )
        if bias.shape == (1, oc):
            inputs[2] = f"{node.outputs[0]}/bias"
            constants[inputs[2]] = np.ascontiguousarray(bias.reshape(-1))
    attrs = {k: v for k, v in node.attrs.items() if k not in ("alpha", "beta")}
    if len(inputs) > 2 and inputs[2] in constants and constants[inputs[2]].shape != (oc,):
        matrix, product = f"{node.outputs[0]}/matrix", f"{node.outputs[0]}{PRODUCT}"
        constants[matrix] = constants[node.inputs[2]] * np.float32(beta)
        return [
            replace(node, inputs=tuple(inputs[:2]), outputs=(product,), attrs=attrs),
            FloatNode(f"{node.name}/add", "Add", (product, matrix), node.outputs, {}),
        ]
    return [replace(node, inputs=tuple(inputs), attrs=attrs)]
