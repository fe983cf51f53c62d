"""Softmax, logistic, relu and requantization agree with TFLite Micro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, check_uint8, tflite_graph

from mcuc.ir import Graph

PROBABILITY = (1 / 256, -128)


SHAPES = [(1, 10), (1, 1), (1, 2), (1, 3, 5), (1, 2, 3, 7), (1, 300), (4, 6)]


def _softmax(shape: tuple[int, ...], scale: float, zero_point: int = 20, beta: float = 1.0) -> Graph:
    return tflite_graph("SOFTMAX", [activation("x", shape, scale, zero_point)], activation("y", shape, *PROBABILITY),
                        beta=beta)


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_shapes(shape: tuple[int, ...]) -> None:
    check_tflite(_softmax(shape, 0.1))


def test_softmax_of_a_thousand_classes() -> None:
    """TFLite Micro aborts where the exponentials add up to 512 times the highest, so the inputs differ."""
    inputs = [[RNG(n).integers(-128, 128, (1, 1000)).astype(np.int8)] for n in range(6)]
    check_tflite(_softmax((1, 1000), 0.1), inputs=inputs)


@pytest.mark.parametrize("seed", range(60))
def test_softmax_of_every_difference(seed: int) -> None:
    """Two classes, all 256 differences: every entry of the table, at random scales from tiny to saturating."""
    pairs = np.stack([np.full(256, 127), 127 - np.arange(256)], axis=-1).astype(np.int8)[None]
    check_tflite(_softmax((1, 256, 2), float(2.0 ** RNG(seed).uniform(-20, 6))), inputs=[[pairs], [pairs[:, :, ::-1]]])


@pytest.mark.parametrize("seed", range(40))
def test_softmax_random_scales(seed: int) -> None:
    rng = RNG(seed)
    scale, beta = float(2.0 ** rng.uniform(-12, 4)), (1.0, 0.5, 1.75)[seed % 3]
    graph = _softmax((1, 8, int(rng.integers(1, 40))), scale, int(rng.integers(-128, 128)), beta)
    check_tflite(graph, count=10, seed=seed)
    if seed < 8:
        check_uint8(graph, seed=seed)


@pytest.mark.parametrize("seed", range(40))
def test_logistic(seed: int) -> None:
    rng = RNG(seed)
    scale = float(2.0 ** rng.uniform(-12, 3))
    check_tflite(tflite_graph("LOGISTIC", [activation("x", (1, 16, 64), scale, int(rng.integers(-128, 128)))],
                              activation("y", (1, 16, 64), *PROBABILITY)), seed=seed)


@pytest.mark.parametrize("seed", range(12))
def test_logistic_uint8(seed: int) -> None:
    rng = RNG(seed)
    x = activation("x", (1, 16, 64), float(2.0 ** rng.uniform(-8, 0)), int(rng.integers(-128, 128)))
    check_uint8(tflite_graph("LOGISTIC", [x], activation("y", (1, 16, 64), *PROBABILITY)), seed=seed)


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
        check_uint8(tflite_graph(kind, [x], y), seed=seed)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    softmax = [_softmax(shape, scale) for shape in (*SHAPES, (1, 600)) for scale in (0.01, 0.2)]
    x, y = activation("x", (1, 3, 2, 7), 0.05, 4), activation("y", (1, 3, 2, 7), 0.04, -9)
    clamps = [tflite_graph(kind, [x], y) for kind in ("RELU", "RELU6", "QUANTIZE")]
    logistic = tflite_graph("LOGISTIC", [x], activation("y", (1, 3, 2, 7), *PROBABILITY))
    check_c([*softmax, *clamps, logistic], tmp_path)
