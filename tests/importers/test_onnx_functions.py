"""Float functions of one value between DequantizeLinear and QuantizeLinear equal ONNX Runtime for all 256 inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx_models import Model, check_onnx, load

from mcuc.errors import McucError
from mcuc.exporters import onnx as exporter
from mcuc.importers import onnx as importer
from mcuc.ops.unary.functions import FUNCTIONS
from mcuc.verify import oracle, reference

EVERY = np.arange(-128, 128).astype(np.int8).reshape(1, 256)
ATTRS: dict[str, dict[str, Any]] = {
    "Celu": {"alpha": 0.7},
    "Elu": {"alpha": 1.3},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "LeakyRelu": {"alpha": 0.2},
    "Selu": {"alpha": 1.5, "gamma": 1.1},
    "ThresholdedRelu": {"alpha": 0.5},
    "Swish": {"alpha": 1.2},
}
OPSETS = {"Gelu": 20, "Mish": 18, "Swish": 24}


def _differing(blob: bytes) -> int:
    graph, interface = load(blob)
    fed = [[importer.to_file(interface.inputs[0], EVERY)]]
    ((raw,),) = oracle.onnxruntime(blob, fed)
    wanted = importer.from_file(interface.outputs[0], raw)
    got = reference.run(graph, {graph.inputs[0]: EVERY})[graph.outputs[0]]
    assert [n.op for n in graph.nodes] == ["unary"]
    difference = np.abs(wanted.astype(int) - got.astype(int))
    assert difference.max() <= 1, (EVERY[difference > 1], wanted[difference > 1], got[difference > 1])
    return int(difference.sum())


def _model(kind: str, seed: int, dtype: str, domain: str = "", **attrs: Any) -> bytes:
    m = Model(seed, opset=OPSETS.get(kind, 17))
    v = m.qdq(m.input([1, 256]), dtype, scale=float(2.0 ** m.rng.uniform(-8, -2)))
    return m.build(m.qdq(m.node(kind, [v], domain, **attrs), dtype, float(2.0 ** m.rng.uniform(-8, -3))))


@pytest.mark.parametrize("kind", sorted(set(FUNCTIONS) - {"QuickGelu"}))
def test_function(kind: str) -> None:
    """None of 20 tables of 256 differs; float32 results of the runtime that lie on a tie may, by a step."""
    total = sum(
        _differing(_model(kind, seed, ("int8", "uint8")[seed % 2], **(ATTRS.get(kind, {}) if seed % 3 else {})))
        for seed in range(20)
    )
    assert total == 0


def test_approximate_gelu_and_those_of_the_runtimes_own_domain() -> None:
    for seed in range(10):
        assert _differing(_model("Gelu", seed, "int8", approximate="tanh")) == 0
        assert _differing(_model("Gelu", seed, "int8", "com.microsoft")) == 0
        assert _differing(_model("FastGelu", seed, "int8", "com.microsoft")) == 0
        assert _differing(_model("QuickGelu", seed, "uint8", "com.microsoft", alpha=1.5)) == 0


@pytest.mark.parametrize(
    ("kind", "attrs", "found"),
    [
        ("Gelu", {"approximate": "sigmoid"}, "approximate"),
        ("Elu", {"alpha": float("nan")}, "alpha"),
        ("Celu", {"alpha": 0.0}, "alpha"),
        ("Selu", {"gamma": float("inf")}, "gamma"),
    ],
)
def test_attributes_that_mean_nothing_are_refused(kind: str, attrs: dict[str, Any], found: str) -> None:
    with pytest.raises(McucError) as caught:
        load(_model(kind, 0, "int8", **attrs))
    assert caught.value.code == "broken-model" and found in caught.value.found


@pytest.mark.parametrize("slopes", [(6, 1, 1), (1,), (1, 6, 5, 7), (5, 1)])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_prelu_with_quantized_slopes(slopes: tuple[int, ...], dtype: str) -> None:
    m = Model(3)
    v = m.qdq(m.input([1, 6, 5, 7]), dtype)
    y = m.node("PRelu", [v, m.weights(slopes, dtype, axis=None)])
    graph = check_onnx(m.build(m.qdq(y, dtype)), count=20, steps=1, share=0.005)
    assert [n.op for n in graph.nodes] == ["prelu"]


def test_prelu_with_one_slope_in_float_is_a_table() -> None:
    m = Model(4)
    y = m.node("PRelu", [m.qdq(m.input([1, 256])), m.const([0.3], np.float32)])
    graph = check_onnx(m.build(m.qdq(y)), count=20)
    assert [n.op for n in graph.nodes] == ["unary"]


def test_prelu_with_float_slopes_is_refused() -> None:
    m = Model(4)
    y = m.node("PRelu", [m.qdq(m.input([1, 6])), m.const(np.ones(6), np.float32)])
    with pytest.raises(McucError) as caught:
        load(m.build(m.qdq(y)))
    assert caught.value.code == "not-quantized"


@pytest.mark.parametrize("kind", ["Tanh", "HardSwish", "LeakyRelu", "Selu", "Exp", "Softplus"])
def test_an_exported_function_is_the_same(kind: str) -> None:
    graph, _ = load(_model(kind, 1, "int8", **ATTRS.get(kind, {})))
    again, _ = load(exporter.export(graph))
    assert [n.attrs for n in again.nodes] == [n.attrs for n in graph.nodes]


def test_fast_gelu_with_a_bias_is_refused() -> None:
    m = Model(1)
    y = m.node("FastGelu", [m.qdq(m.input([1, 8])), m.const(np.ones(8), np.float32)], "com.microsoft")
    with pytest.raises(McucError, match="with a bias"):
        load(m.build(m.qdq(y)))


def test_what_the_exporters_opset_lacks_and_joined_tables_are_not_exported() -> None:
    graph, _ = load(_model("Mish", 1, "int8"))
    with pytest.raises(McucError, match="opset 17"):
        exporter.export(graph)
    graph, _ = load(_model("Tanh", 1, "int8"))
    (node,) = graph.nodes
    joined = replace(node, attrs=replace(node.attrs, table=node.attrs.table[::-1]))
    with pytest.raises(McucError, match="not that of Tanh"):
        exporter.export(replace(graph, nodes=(joined,)))
