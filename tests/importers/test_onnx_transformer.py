"""The operators of a vision transformer, as large as they come there, against ONNX Runtime, each fed the runtime's own
inputs: byte for byte, and layer norm within a step on one element of 200."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import Model, check_onnx


@pytest.mark.parametrize(("tokens", "channels"), [(197, 192), (226, 216)])
def test_layer_norm(tokens: int, channels: int) -> None:
    for seed, dtype in enumerate(("int8", "uint8")):
        m = Model(seed, opset=17)
        factors = [m.const(m.rng.normal(mean, 0.3, channels), np.float32) for mean in (1, 0)]
        y = m.node("LayerNormalization", [m.qdq(m.input([1, tokens, channels]), dtype), *factors], epsilon=1e-6)
        check_onnx(m.build(m.qdq(y, dtype, 0.03)), count=4, steps=1, share=0.005)


@pytest.mark.parametrize("tokens", [197, 226])
@pytest.mark.parametrize("scale", [0.005, 0.05, 0.15])
def test_softmax(tokens: int, scale: float) -> None:
    m = Model(tokens)
    y = m.node("Softmax", [m.qdq(m.input([1, 3, 9, tokens]), "int8", scale)], axis=-1)
    check_onnx(m.build(m.qdq(y, "int8", 1 / 256, -128)), count=4, transposes=None)


@pytest.mark.parametrize("tokens", [197, 226])
def test_scores_and_values(tokens: int) -> None:
    m = Model(tokens)
    q, k = (m.qdq(m.input([1, 2, n, 64]), "int8", 0.03) for n in (7, tokens))
    scores = m.node("MatMul", [q, m.node("Transpose", [k], perm=[0, 1, 3, 2])])
    share, v = (
        m.qdq(m.input([1, 2, *s]), "int8", *p) for s, p in (((7, tokens), (1 / 256, -128)), ((tokens, 64), (0.03,)))
    )
    outs = [m.qdq(scores, "int8", 0.2), m.qdq(m.node("MatMul", [share, v]), "int8", 0.04)]
    check_onnx(m.build(*outs), count=4, transposes=None)


def test_gelu_and_dense_layers() -> None:
    m = Model(2, opset=20)
    y = m.qdq(m.node("MatMul", [m.qdq(m.input([1, 9, 192])), m.weights((192, 768), axis=None)]), "int8", 0.2)
    y = m.qdq(m.node("Gelu", [y]), "int8", 0.1)
    y = m.node("MatMul", [y, m.weights((768, 192), axis=None)])
    check_onnx(m.build(m.qdq(y, "int8", 1.5)), count=4, transposes=None)
