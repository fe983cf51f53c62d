"""Normalisations between DequantizeLinear and QuantizeLinear: at most one step from ONNX Runtime, on at most 0.5 % of
the elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import Model, both, check_onnx, load

from mcuc.errors import McucError
from mcuc.exporters import onnx as exporter
from mcuc.ir import Graph

OPSETS = {"LayerNormalization": 17, "RMSNormalization": 23, "SimplifiedLayerNormalization": 17}


def _model(
    kind: str, shape: tuple[int, ...], seed: int = 0, dtype: str = "int8", beta: bool = True, **attrs: Any
) -> bytes:
    m = Model(seed, opset=OPSETS[kind])
    row = shape[int(attrs.get("axis", -1)) % len(shape) :]
    v = m.qdq(m.input(shape), dtype)
    inputs = [v, m.const(m.rng.normal(1, 0.3, row), np.float32)]
    if kind == "LayerNormalization" and beta:
        inputs.append(m.const(m.rng.normal(0, 0.3, row), np.float32))
    return m.build(m.qdq(m.node(kind, inputs, **attrs), dtype, float(m.rng.uniform(0.02, 0.04))))


def _close(blob: bytes, count: int = 20, **more: Any) -> Graph:
    return check_onnx(blob, count=count, steps=1, share=0.005, **more)


@pytest.mark.parametrize("kind", OPSETS)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("shape", [(1, 50, 64), (1, 17, 192), (1, 384), (1, 4, 5, 96)])
def test_tokens(kind: str, dtype: str, shape: tuple[int, ...]) -> None:
    for seed in range(3):
        moved = int(len(shape) == 4)  # an input of rank 4 is stored channels last, whatever the file means by it
        graph = _close(_model(kind, shape, seed, dtype, epsilon=(1e-5, 1e-6, 1e-3)[seed]), transposes=moved)
        assert [n.op for n in graph.nodes if n.op.endswith("norm")] == [
            "layer_norm" if kind == "LayerNormalization" else "rms_norm"
        ]


@pytest.mark.parametrize("kind", OPSETS)
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_several_axes(kind: str, axis: int) -> None:
    _close(_model(kind, (1, 6, 5, 7), axis=axis), transposes=1)


def test_without_offset_and_with_quantized_factors() -> None:
    _close(_model("LayerNormalization", (1, 9, 32), beta=False))
    m = Model(5)
    v = m.qdq(m.input([1, 9, 32]))
    _close(m.build(m.qdq(m.node("LayerNormalization", [v, m.weights((32,), axis=None), m.weights((32,), axis=None)]))))


@pytest.mark.parametrize(("shape", "axis"), [((1, 9, 32), -1), ((1, 16, 4, 5), 1), ((1, 24), -1)])
def test_second_norm(shape: tuple[int, ...], axis: int) -> None:
    m = Model(6)
    y = m.node("LpNormalization", [m.qdq(m.input(shape))], axis=axis, p=2)
    _close(m.build(m.qdq(y, scale=1 / 128, zero=0)))


def test_a_mean_that_nobody_reads_is_left_out() -> None:
    m = Model(7)
    v = m.qdq(m.input([1, 9, 32]))
    y, _ = m.node("LayerNormalization", [v, m.const(np.ones(32), np.float32)], outputs=2)
    _close(m.build(m.qdq(y)))


def test_refused() -> None:
    def code(blob: bytes) -> str:
        with pytest.raises(McucError) as caught:
            load(blob)
        return caught.value.code

    m = Model(7)
    v = m.qdq(m.input([1, 9, 32]))
    assert code(m.build(m.qdq(m.node("LpNormalization", [v], p=1)))) == "unsupported-operator"
    m = Model(7)
    v = m.qdq(m.input([1, 9, 32]))
    y = m.node("LayerNormalization", [v, m.const(np.ones(31), np.float32)])
    assert code(m.build(m.qdq(y))) == "broken-model"
    m = Model(7)
    v = m.qdq(m.input([1, 9, 32]))
    y, mean = m.node("LayerNormalization", [v, m.const(np.ones(32), np.float32)], outputs=2)
    assert code(m.build(m.qdq(y), m.qdq(mean))) == "unsupported-operator"
    m = Model(7)
    y = m.node("LayerNormalization", [m.input([1, 9, 32]), m.const(np.ones(32), np.float32)])
    assert code(m.build(m.qdq(y))) == "not-quantized"


def test_an_exported_norm_is_the_same_within_a_step() -> None:
    graph, _ = load(_model("LayerNormalization", (1, 17, 48)))
    _close(exporter.export(graph))


def test_an_rms_norm_is_not_exported_below_its_opset() -> None:
    graph, _ = load(_model("RMSNormalization", (1, 17, 48)))
    with pytest.raises(McucError, match="opset 23"):
        exporter.export(graph)


@pytest.mark.parametrize(("shape", "axis"), [((1, 10), -1), ((1, 7, 33), -1), ((1, 9, 12), 1), ((1, 12, 4, 5), 1)])
@pytest.mark.parametrize("kind", ["LogSoftmax", "Softmax"])
def test_softmax_over_any_axis(kind: str, shape: tuple[int, ...], axis: int) -> None:
    for seed in range(4):
        m = Model(seed)
        y = m.node(kind, [m.qdq(m.input(shape), scale=float(2.0 ** m.rng.uniform(-7, -2)))], axis=axis)
        out = {"scale": 1 / 256, "zero": -128} if kind == "Softmax" else {"scale": (1 / 16, 0.1)[seed % 2], "zero": 127}
        check_onnx(
            m.build(m.qdq(y, **out)), count=20, steps=1, share=0.005, transposes=int(axis == 1 and len(shape) == 3)
        )


@pytest.mark.parametrize("shape", [(1, 6, 5, 7), (1, 8, 33), (1, 4, 16, 16), (2, 3, 14, 15)])
def test_instance_norm(shape: tuple[int, ...]) -> None:
    for seed in range(3):
        m = Model(seed)
        v = m.qdq(m.input(shape))
        c = shape[1]
        factors = [m.const(m.rng.normal(mean, 0.3, c), np.float32) for mean in (1, 0)]
        blob = m.build(m.qdq(m.node("InstanceNormalization", [v, *factors]), scale=0.03))
        graph = _close(blob, transposes=int(len(shape) == 4))
        if len(shape) == 3:
            _close(exporter.export(graph))


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_group_norm(groups: int, opset: int) -> None:
    m = Model(groups, opset=opset)
    v = m.qdq(m.input([1, 8, 5, 6]))
    factors = [m.const(m.rng.normal(mean, 0.3, groups if opset == 18 else 8), np.float32) for mean in (1, 0)]
    blob = m.build(m.qdq(m.node("GroupNormalization", [v, *factors], num_groups=groups), scale=0.03))
    graph, wanted, got = both(blob, 20)
    for (a,), (b,) in list(zip(wanted, got, strict=True))[
        2:
    ]:  # where all inputs are equal the runtime's variance is not 0
        difference = np.abs(a.astype(int) - b.astype(int))
        assert difference.max() <= 1 and difference.sum() <= 0.005 * a.size
    if groups == 2:
        with pytest.raises(McucError, match="opset 18"):
            exporter.export(graph)


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    m = Model(1, opset=21)
    v = m.qdq(m.input([1, 8, 5, 6]))
    y = m.node("GroupNormalization", [v, *(m.const(np.ones(8), np.float32) for _ in range(2))], num_groups=3)
    with pytest.raises(McucError, match="3 groups of 8 channels"):
        load(m.build(m.qdq(y)))
