"""Softmax, logistic, relu and requantization agree with TFLite Micro."""

from __future__ import annotations

import pytest
from harness import RNG, activation, check_tflite, check_uint8, tflite_graph

PROBABILITY = (1 / 256, -128)


@pytest.mark.parametrize("shape", [(1, 10), (1, 1), (1, 2), (1, 3, 5), (1, 2, 3, 7), (1, 1000), (4, 6)])
def test_softmax_shapes(shape: tuple[int, ...]) -> None:
    check_tflite(tflite_graph("SOFTMAX", [activation("x", shape, 0.1, 20)], activation("y", shape, *PROBABILITY), beta=1.0))


@pytest.mark.parametrize("seed", range(40))
def test_softmax_random_scales(seed: int) -> None:
    rng = RNG(seed)
    scale, beta = float(2.0 ** rng.uniform(-12, 4)), (1.0, 0.5, 1.75)[seed % 3]
    shape = (1, 8, int(rng.integers(1, 40)))
    graph = tflite_graph("SOFTMAX", [activation("x", shape, scale, int(rng.integers(-128, 128)))],
                         activation("y", shape, *PROBABILITY), beta=beta)
    check_tflite(graph, count=10, seed=seed)
    if seed < 8:
        check_uint8(graph, seed=seed)


@pytest.mark.parametrize("seed", range(40))
def test_logistic(seed: int) -> None:
    rng = RNG(seed)
    scale = float(2.0 ** rng.uniform(-12, 3))
    check_tflite(tflite_graph("LOGISTIC", [activation("x", (1, 16, 64), scale, int(rng.integers(-128, 128)))],
                              activation("y", (1, 16, 64), *PROBABILITY)), seed=seed)


@pytest.mark.parametrize("kind", ["RELU", "RELU6", "RELU_N1_TO_1", "QUANTIZE"])
@pytest.mark.parametrize("seed", range(20))
def test_clamps(kind: str, seed: int) -> None:
    rng = RNG(seed)
    scales = 2.0 ** rng.uniform(-7, -3, 2)
    zeros = rng.integers(-128, 128, 2)
    if seed % 3 == 0:
        scales[1], zeros[1] = scales[0], zeros[0]
    x = activation("x", (1, 16, 64), float(scales[0]), int(zeros[0]))
    y = activation("y", (1, 16, 64), float(scales[1]), int(zeros[1]))
    if kind != "RELU_N1_TO_1":
        check_tflite(tflite_graph(kind, [x], y), seed=seed)
    if kind != "QUANTIZE":
        check_uint8(tflite_graph("RELU" if kind == "RELU6" else kind, [x], y), seed=seed)
