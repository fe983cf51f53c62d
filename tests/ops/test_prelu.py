"""Leaky relu with slopes agrees with TFLite Micro, for every pair of bytes and every way of broadcasting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, check_uint8, constant, tflite_graph

from mcuc.ir import Graph

SHAPES = [
    ((1, 4, 3, 5), (1, 1, 5)),
    ((1, 4, 3, 5), (5,)),
    ((1, 4, 3, 5), (1, 4, 3, 5)),
    ((1, 4, 3, 5), (1, 3, 1)),
    ((1, 7, 6), (6,)),
    ((1, 9), (1,)),
    ((1, 9), (9,)),
]


def _case(seed: int, shape: tuple[int, ...], slopes: tuple[int, ...]) -> Graph:
    rng = RNG(seed)
    x_scale, y_scale, scale = (float(s) for s in 2.0 ** rng.uniform((-9, -9, -10), (1, 1, -2)))
    zeros = [int(z) for z in rng.integers(-128, 128, 3)]
    data = rng.integers(-128, 128, slopes).astype(np.int8)
    alpha = constant("alpha", data, (scale,), (zeros[2],))
    return tflite_graph("PRELU", [activation("x", shape, x_scale, zeros[0]), alpha],
                        activation("y", shape, y_scale, zeros[1]))


@pytest.mark.parametrize("seed", range(20))
def test_every_pair_of_bytes(seed: int) -> None:
    rng = RNG(seed)
    graph = _case(seed, (1, 256, 256), (256,))
    every = np.repeat(np.arange(-128, 128).astype(np.int8), 256).reshape(1, 256, 256)
    check_tflite(graph, inputs=[[every], [rng.permutation(every.reshape(-1)).reshape(every.shape)]])


@pytest.mark.parametrize(("shape", "slopes"), SHAPES)
def test_broadcasting(shape: tuple[int, ...], slopes: tuple[int, ...]) -> None:
    for seed in range(4):
        check_tflite(_case(seed, shape, slopes), seed=seed)


@pytest.mark.parametrize("seed", range(8))
def test_uint8(seed: int) -> None:
    check_uint8(_case(seed, (1, 8, 8, 16), (1, 1, 16)), seed=seed)


def test_computed_slopes(tmp_path: Path) -> None:
    graph = tflite_graph("PRELU", [activation("x", (1, 4, 3, 5), 0.05, 3), activation("a", (1, 4, 3, 5), 0.01, -4)],
                         activation("y", (1, 4, 3, 5), 0.04, -8))
    check_tflite(graph)
    check_c([graph], tmp_path)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([_case(i, *shapes) for i, shapes in enumerate(SHAPES)], tmp_path)
