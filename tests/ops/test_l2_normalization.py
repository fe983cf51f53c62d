"""L2_NORMALIZATION agrees with TFLite Micro, as a uint8 model with LiteRT's reference kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, check_uint8, tflite_graph

from mcuc.errors import McucError
from mcuc.ir import Array, Graph

SHAPES = [(1, 10), (1, 1), (1, 2), (1, 3, 5), (1, 2, 3, 7), (1, 300), (4, 6), (9,), (1, 4096)]


def _case(shape: tuple[int, ...], zero_point: int = 20) -> Graph:
    return tflite_graph("L2_NORMALIZATION", [activation("x", shape, 0.05, zero_point)],
                        activation("y", shape, 1 / 128, 0))


def _inputs(shape: tuple[int, ...], zero_point: int, seed: int) -> list[list[Array]]:
    """Random rows of all magnitudes around the zero point, all of them equal to it among these."""
    rng = RNG(seed)
    spreads = [0, 1, 2, 5, 20, 100, 255]
    return [[np.clip(zero_point + rng.integers(-s, s + 1, shape), -128, 127).astype(np.int8)] for s in spreads]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("zero_point", [-128, -3, 0, 127])
def test_shapes(shape: tuple[int, ...], zero_point: int) -> None:
    check_tflite(_case(shape, zero_point), inputs=_inputs(shape, zero_point, len(shape)))


@pytest.mark.parametrize("seed", range(40))
def test_random(seed: int) -> None:
    rng = RNG(seed)
    shape, zero_point = (1, 40, int(rng.integers(1, 80))), int(rng.integers(-128, 128))
    check_tflite(_case(shape, zero_point), inputs=_inputs(shape, zero_point, seed))


@pytest.mark.parametrize("seed", range(12))
def test_uint8(seed: int) -> None:
    rng = RNG(seed)
    check_uint8(_case((1, 40, int(rng.integers(1, 80))), int(rng.integers(-128, 128))), seed=seed, count=12)


def test_refused() -> None:
    for scale, zero_point in ((1 / 128, 1), (1 / 64, 0)):
        with pytest.raises(McucError, match="1/128"):
            tflite_graph("L2_NORMALIZATION", [activation("x", (1, 4))], activation("y", (1, 4), scale, zero_point))
    with pytest.raises(McucError, match="fused activation 1"):
        tflite_graph("L2_NORMALIZATION", [activation("x", (1, 4))], activation("y", (1, 4), 1 / 128, 0),
                     fusedActivationFunction=1)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([_case(shape, zero_point) for shape in SHAPES for zero_point in (-128, 5)], tmp_path)


def test_c_of_a_uint8_model(tmp_path: Path) -> None:
    check_c([check_uint8(_case((1, 5, 12), 7))], tmp_path)
