"""Functions and norms of ONNX networks under TFLite's rounding: the same function, a file that TFLite reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import Model, load, samples

from mcuc import passes
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.quantize.retarget import MOST_STEPS, retarget
from mcuc.verify import oracle, reference

CASES: dict[str, tuple[tuple[float, int], dict[str, Any]]] = {
    "Tanh": ((1 / 128, 0), {}),
    "HardSwish": ((0.04, 3), {}),
    "LeakyRelu": ((0.04, 3), {"alpha": 0.2}),
    "Elu": ((0.04, 3), {}),
    "Abs": ((0.04, -128), {}),
    "LogSoftmax": ((1 / 16, 127), {}),
    "LpNormalization": ((1 / 128, 0), {}),
}


def _model(kind: str, out: tuple[float, int], attrs: dict[str, Any]) -> bytes:
    m = Model(3, opset=20)
    v = m.qdq(m.input([1, 6, 40]), scale=0.05, zero=4)
    return m.build(m.qdq(m.node(kind, [v], **attrs), "int8", *out))


@pytest.mark.parametrize("kind", CASES)
def test_same_function_in_tflite(kind: str) -> None:
    out, attrs = CASES[kind]
    graph, _ = load(_model(kind, out, attrs))
    again = retarget(graph)
    assert again.profile == "tflite" and len(again.nodes) == 1
    blob = exporter.export(again)
    inputs = samples(graph, 8)
    found = [reference.run(again, {graph.inputs[0]: x})[graph.outputs[0]] for (x,) in inputs]
    wanted = [reference.run(graph, {graph.inputs[0]: x})[graph.outputs[0]] for (x,) in inputs]
    micro = [y for (y,) in oracle.tflite_micro(blob, inputs)]
    assert all(np.array_equal(a, b) for a, b in zip(found, micro, strict=True))
    assert max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(found, wanted, strict=True)) <= MOST_STEPS
    assert [e.attrs for e in importer.parse(blob, "case.tflite", "case").nodes] == [again.nodes[0].attrs]


@pytest.mark.parametrize(
    ("kind", "attrs"), [("Softplus", {}), ("Elu", {"alpha": 3.0}), ("Erf", {}), ("HardSigmoid", {"alpha": 0.2})]
)
def test_what_tflite_lacks_is_a_table_that_tflite_micro_looks_up(kind: str, attrs: dict[str, Any]) -> None:
    graph, _ = load(_model(kind, (0.02, 3), attrs))
    again = retarget(graph)
    assert again.profile == "tflite" and again.nodes[0].attrs.table == graph.nodes[0].attrs.table
    blob = exporter.export(again)
    inputs = samples(graph, 8)
    wanted = [reference.run(graph, {graph.inputs[0]: x})[graph.outputs[0]] for (x,) in inputs]
    for run in (oracle.tflite_micro, oracle.litert_reference):
        assert all(np.array_equal(a, b) for a, (b,) in zip(wanted, run(blob, inputs), strict=True))
    (node,) = passes.optimize(importer.parse(blob, "case.tflite", "case")).nodes
    assert (node.op, node.attrs.table) == ("unary", graph.nodes[0].attrs.table)


def test_what_tflite_lacks_and_is_no_table_is_refused() -> None:
    graph, _ = load(_model("LpNormalization", (0.02, 3), {}))
    with pytest.raises(McucError):
        retarget(graph)


def test_an_rms_norm_has_no_tflite_form() -> None:
    m = Model(3, opset=23)
    y = m.node("RMSNormalization", [m.qdq(m.input([1, 6, 40])), m.const(np.ones(40), np.float32)])
    graph, _ = load(m.build(m.qdq(y, scale=1 / 128, zero=0)))
    with pytest.raises(McucError, match="no RMS norm"):
        retarget(graph)


@pytest.mark.parametrize(("kind", "tflite"), [("Sub", "SUB"), ("Sum", "ADD")])
def test_steps_in_float_are_integer_operators_in_tflite(kind: str, tflite: str) -> None:
    m = Model(5)
    a, b = m.qdq(m.input([1, 6, 40]), scale=0.05, zero=4), m.qdq(m.input([1, 6, 40]), scale=0.04, zero=-128)
    graph, _ = load(m.build(m.qdq(m.node(kind, [a, b]), scale=0.07, zero=3)))
    again = retarget(graph)
    blob = exporter.export(again)
    assert [n.name.partition(":")[2] for n in importer.parse(blob, "case.tflite", "case").nodes] == [tflite]
    rng = np.random.default_rng(0)
    inputs = [[rng.integers(-127, 128, (1, 6, 40)).astype(np.int8) for _ in "ab"] for _ in range(4)]
    found = [reference.run(again, dict(zip(graph.inputs, x, strict=True)))[graph.outputs[0]] for x in inputs]
    wanted = [reference.run(graph, dict(zip(graph.inputs, x, strict=True)))[graph.outputs[0]] for x in inputs]
    micro = [y for (y,) in oracle.tflite_micro(blob, inputs)]
    assert all(np.array_equal(a, b) for a, b in zip(found, micro, strict=True))
    assert max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(found, wanted, strict=True)) <= 1


def test_a_factor_of_a_dense_layer_is_one_of_its_weights_scale() -> None:
    scales = []
    for alpha in (1.0, 0.5):
        m = Model(3)
        x, w = m.qdq(m.input([4, 16]), scale=0.05, zero=4), m.weights([10, 16], axis=None)
        graph = retarget(load(m.build(m.qdq(m.node("Gemm", [x, w], transB=1, alpha=alpha), scale=0.2, zero=0)))[0])
        quant = graph.tensors[graph.nodes[0].inputs[1]].quant
        assert quant is not None
        scales.append(quant.scale[0])
    assert scales[1] == scales[0] / 2


def test_a_factor_that_tflite_has_no_place_for_is_refused() -> None:
    m = Model(3)
    x, y = m.qdq(m.input([4, 16]), scale=0.05, zero=4), m.qdq(m.input([10, 16]), scale=0.04, zero=1)
    graph, _ = load(m.build(m.qdq(m.node("Gemm", [x, y], transB=1, alpha=0.5), scale=0.2, zero=0)))
    with pytest.raises(McucError, match="factor"):
        retarget(graph)


@pytest.mark.parametrize("kind", ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])
@pytest.mark.parametrize("number", [0.0, 1.0, -0.033, 900.0, -900.0])
@pytest.mark.parametrize("first", [False, True])
def test_a_comparison_with_a_number_has_the_same_answers(kind: str, number: float, first: bool) -> None:
    m = Model(3, opset=20)
    x, c = m.qdq(m.input([1, 256]), scale=0.05, zero=4), m.const(number, np.float32)
    graph, _ = load(m.build(m.node(kind, [c, x] if first else [x, c])))
    every = np.arange(-128, 128, dtype=np.int8)[None]
    wanted = reference.run(graph, {graph.inputs[0]: every})[graph.outputs[0]]
    if wanted.all() or not wanted.any():  # no step may stand for the number
        try:
            again = retarget(graph)
        except McucError as error:
            assert error.code == "not-exportable" and "no step" in error.found
            return
    else:
        again = retarget(graph)
    for run in (oracle.tflite_micro, oracle.litert_reference):
        assert np.array_equal(run(exporter.export(again), [[every]])[0][0], wanted)
