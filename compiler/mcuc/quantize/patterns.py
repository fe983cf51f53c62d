"""Composite functions that exporters spell out in elementary operators become one node again.

A run of element-by-element nodes that depends on one value is recognised by what it computes, not by how it is spelled:
it is evaluated on a grid and compared with the functions that have an operator. Norms and softmax are recognised the
same way, on random rows (_norms.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mcuc.quantize._einsum import einsums
from mcuc.quantize._gemm import gemms
from mcuc.quantize._identities import identities
from mcuc.quantize._norms import row_functions
from mcuc.quantize._regions import (
    EVALUATE,
    Region,
    evaluated,
    gelu,
    gelu_tanh,
    hard_swish,
    regions,
    runtime_inputs,
    sigmoid,
)
from mcuc.quantize.batch_norms import batch_norms
from mcuc.quantize.model import FloatModel, FloatNode

GRID = np.concatenate([np.linspace(-12, 12, 2401), np.linspace(-60, 60, 121)])
SILU = "Silu"  # ONNX has no such operator before opset 24: it becomes two
CLOSE = 2e-5  # absolute and relative: constants in files are float32


@dataclass(frozen=True)
class Known:
    """A function with an ONNX operator of its own."""

    kind: str
    attrs: Mapping[str, Any]
    function: Callable[[Any], Any]


KNOWN = (
    Known("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    Known("HardSigmoid", {"alpha": 0.2, "beta": 0.5}, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    Known("HardSwish", {}, hard_swish),
    Known("Gelu", {"approximate": "none"}, gelu),
    Known("Gelu", {"approximate": "tanh"}, gelu_tanh),
    Known("Mish", {}, lambda x: x * np.tanh(np.logaddexp(0, x))),
    Known("Softplus", {}, lambda x: np.logaddexp(0, x)),
    Known("Sigmoid", {}, sigmoid),
    Known("Tanh", {}, np.tanh),
    Known("Relu", {}, lambda x: np.maximum(x, 0)),
    Known("Softsign", {}, lambda x: x / (1 + np.abs(x))),
    Known("Abs", {}, np.abs),
    Known(SILU, {}, lambda x: x * sigmoid(x)),
)

ANSWERS = np.stack([known.function(GRID) for known in KNOWN])
FEW = slice(None, None, 199)  # points looked at first: most runs fail there


def recognised(model: FloatModel) -> FloatModel:
    """The network with composites as single nodes, batch norms as layers, constants divided by as factors, Gemm's
    factors in its constants."""
    model = _functions(identities(row_functions(batch_norms(einsums(model)))))
    return gemms(_factors(model))


def _elementwise(node: FloatNode, model: FloatModel) -> bool:
    """Whether each output element depends on one element of one value, besides constant numbers."""
    constants = [n for n in node.inputs if n and n in model.constants]
    return (
        node.kind in EVALUATE
        and all(model.constants[n].size == 1 for n in constants)
        and all(model.shapes.get(n) == model.shapes.get(node.outputs[0]) for n in runtime_inputs(node, model))
    )


def _functions(model: FloatModel) -> FloatModel:
    """Runs that compute a known function, the longest first, until nothing changes."""
    while True:
        producers, consumers = model.producers(), model.consumers()
        order = {n.name: i for i, n in enumerate(model.nodes)}
        allowed = partial(_elementwise, model=model)
        for last in reversed(model.nodes):
            if not _elementwise(last, model):
                continue
            found = [r for r in regions(model, last, producers, consumers, order, allowed) if len(r.nodes) > 1]
            match = next(((r, k) for r in reversed(found) if (k := _known(r, model)) is not None), None)
            if match is not None:
                model = _replaced(model, *match)
                break
        else:
            return model


def _known(region: Region, model: FloatModel) -> Known | None:
    """The function that the run computes, None where it is none of them, or is spelled as it should be."""
    got = evaluated(region, model, GRID)
    if got.shape != GRID.shape:
        return None
    for i in np.flatnonzero(np.isclose(got[FEW], ANSWERS[:, FEW], CLOSE, CLOSE).all(1)):
        if np.allclose(got, ANSWERS[i], CLOSE, CLOSE):
            plain = KNOWN[i].kind == SILU and [n.kind for n in region.nodes] == ["Sigmoid", "Mul"]
            return None if plain else KNOWN[i]
    slope = float(-got[GRID == -1][0])
    if 1e-6 < slope < 1 - 1e-6 and np.allclose(got, np.where(GRID >= 0, GRID, slope * GRID), CLOSE, CLOSE):
        return Known("LeakyRelu", {"alpha": slope}, lambda x: np.where(x >= 0, x, slope * x))
    return None


def _replaced(model: FloatModel, region: Region, known: Known) -> FloatModel:
    gone, last = {n.name for n in region.nodes}, region.nodes[-1]
    one = [FloatNode(last.name, known.kind, (region.source,), last.outputs, known.attrs)]
    if known.kind == SILU:
        gate = f"{last.outputs[0]}/gate"
        one = [
            FloatNode(f"{last.name}/gate", "Sigmoid", (region.source,), (gate,), {}),
            FloatNode(last.name, "Mul", (region.source, gate), last.outputs, {}),
        ]
        model = replace(
            model, shapes={**model.shapes, gate: model.shapes[last.outputs[0]]}, real=model.real | frozenset((gate,))
        )
    nodes = [m for n in model.nodes if n is last or n.name not in gone for m in (one if n is last else [n])]
    return replace(model, nodes=tuple(nodes))


def _factors(model: FloatModel) -> FloatModel:
    """Division by a constant as multiplication, subtraction as addition."""
    constants, nodes = dict(model.constants), []
    for node in model.nodes:
        second = node.inputs[1] if len(node.inputs) > 1 else ""
        if node.kind in ("Div", "Sub") and second in model.constants and constants[second].dtype == np.float32:
            name = f"{node.outputs[0]}/operand"
            constants[name] = np.float32(1) / constants[second] if node.kind == "Div" else -constants[second]
            node = replace(node, kind="Mul" if node.kind == "Div" else "Add", inputs=(node.inputs[0], name))
        nodes.append(node)
    return replace(model, nodes=tuple(nodes), constants=constants)
