"""Networks with gates: squeeze-and-excitation of both profiles, and masks that a comparison makes, exact end to end."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "importers"))

from onnx_models import Model, check_onnx

import mcuc
from mcuc import api
from mcuc.ir import DType, Graph, Tensor
from small_models import RELU, SAME, activation, bias, constant, exported, network, weights


def gate_graph(squeeze_by_dense: bool) -> Graph:
    """conv -> mean -> dense (or 1x1 conv) -> relu -> dense -> logistic -> mul over the image -> mean -> dense."""
    rng = np.random.default_rng(3)
    x = activation("image", (1, 9, 8, 3), 0.05, -3)
    a = activation("a", (1, 9, 8, 12), 0.04, -128)
    w = weights(rng, "w0", (12, 3, 3, 3), 0)
    conv = {"padding": SAME, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1,
            "fusedActivationFunction": RELU}
    keep = {"keepDims": not squeeze_by_dense}
    small, wide = ((1, 4), (1, 12)) if squeeze_by_dense else ((1, 1, 1, 4), (1, 1, 1, 12))
    s, t, u, g = (activation(n, shape, scale, zero) for n, shape, scale, zero in (
        ("s", wide, 0.02, -128), ("t", small, 0.03, -128), ("u", wide, 0.05, 7), ("g", wide, 1 / 256, -128)))
    shapes = ((4, 12), (12, 4)) if squeeze_by_dense else ((4, 1, 1, 12), (12, 1, 1, 4))
    w1, w2 = (weights(rng, n, shape, 0) for n, shape in zip(("w1", "w2"), shapes, strict=True))
    kind, table = ("FULLY_CONNECTED", "FullyConnected") if squeeze_by_dense else ("CONV_2D", "Conv2D")
    dense = {} if squeeze_by_dense else conv
    if squeeze_by_dense:  # one scale a dense layer
        w1, w2 = (Tensor(v.name, v.shape, v.dtype, activation("q", (), 0.006, 0).quant, v.data) for v in (w1, w2))
    b1, b2 = (constant(n, rng.integers(-500, 500, size).tolist()) for n, size in (("b1", 4), ("b2", 12)))
    gated = activation("gated", a.shape, 0.03, -120)
    steps = [
        ("CONV_2D", "Conv2D", [x, w, bias(rng, "b0", x, w)], a, conv),
        ("MEAN", "Reducer", [a, constant("axes", (1, 2))], s, keep),
        (kind, table, [s, w1, b1], t, {**dense, "fusedActivationFunction": RELU}),
        (kind, table, [t, w2, b2], u, {**dense, "fusedActivationFunction": 0}),
        ("LOGISTIC", "", [u], g, {}),
        ("MUL", "Mul", [a, g], gated, {"fusedActivationFunction": 0}),
        ("MAX_POOL_2D", "Pool2D", [gated], activation("y", (1, 4, 4, 12), 0.03, -120),
         {"padding": 1, "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}),
    ]
    return network("gate", steps, [x])  # type: ignore[arg-type]


@pytest.mark.parametrize("squeeze_by_dense", [False, True])
def test_squeeze_and_excitation_of_tflite(squeeze_by_dense: bool, tmp_path: Path) -> None:
    model = tmp_path / "gate.tflite"
    model.write_bytes(exported(gate_graph(squeeze_by_dense)))
    found = api.verify(model)
    assert found.oracle.startswith("tflite-micro") and found.bit_exact and found.emulated


def gate_onnx(dtype: str) -> bytes:
    m = Model(41)
    x = m.qdq(m.input([1, 3, 9, 8]), dtype)
    a = m.qdq(m.node("Relu", [m.layer("Conv", x, m.weights((12, 3, 3, 3)), 12, pads=[1, 1, 1, 1])]), dtype, 0.2)
    s = m.qdq(m.node("GlobalAveragePool", [a]), dtype, 0.03)
    t = m.qdq(m.node("Relu", [m.layer("Conv", s, m.weights((4, 12, 1, 1)), 4)]), dtype, 0.03)
    u = m.qdq(m.layer("Conv", t, m.weights((12, 4, 1, 1)), 12), dtype, 0.05)
    g = m.qdq(m.node("Sigmoid", [u]), dtype, 1 / 256, -128 if dtype == "int8" else 0)
    gated = m.qdq(m.node("Mul", [a, g]), dtype, 0.15)
    return m.build(m.qdq(m.node("MaxPool", [gated], kernel_shape=[2, 2], strides=[2, 2]), dtype, 0.15))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_squeeze_and_excitation_of_onnx(dtype: str, tmp_path: Path) -> None:
    blob = gate_onnx(dtype)
    check_onnx(blob)
    (tmp_path / "gate.onnx").write_bytes(blob)
    found = api.verify(tmp_path / "gate.onnx")
    assert found.oracle.startswith("onnxruntime") and found.bit_exact and found.emulated


def mask_graph() -> Graph:
    """Where is the image brighter than its mean over the channels, but for a given mask; one of the outputs is bool."""
    x = activation("image", (1, 6, 5, 4), 0.05, -3)
    given = Tensor("given", (1, 6, 5, 4), DType.BOOL)
    m = activation("m", (1, 6, 5, 1), 0.05, -3)
    brighter, free, both = (Tensor(n, (1, 6, 5, 4), DType.BOOL) for n in ("brighter", "free", "both"))
    steps = [
        ("MEAN", "Reducer", [x, constant("axes", (3,))], m, {"keepDims": True}),
        ("GREATER", "Greater", [x, m], brighter, {}),
        ("LOGICAL_NOT", "LogicalNot", [given], free, {}),
        ("LOGICAL_AND", "LogicalAnd", [brighter, free], both, {}),
        ("SELECT_V2", "SelectV2", [both, x, m], activation("y", (1, 6, 5, 4), 0.05, -3), {}),
    ]
    graph = network("mask", steps, [x, given])  # type: ignore[arg-type]
    return Graph(**{**vars(graph), "outputs": ("y", "both")})


def test_a_network_with_truth_values_at_its_ends(tmp_path: Path) -> None:
    model = tmp_path / "mask.tflite"
    model.write_bytes(exported(mask_graph()))
    found = api.verify(model)
    assert found.oracle.startswith("tflite-micro") and found.bit_exact and found.emulated
    mcuc.compile(model, out=tmp_path / "out")
    header = (tmp_path / "out/mask.h").read_text()
    assert "typedef uint8_t mask_input_1_t;" in header and "typedef uint8_t mask_output_1_t;" in header
