"""LOG_SOFTMAX agrees with TFLite Micro, the fixed-point logarithm with the real one and with C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, check_uint8, tflite_graph

from mcuc import fixed_point
from mcuc.errors import McucError
from mcuc.ir import Graph

SHAPES = [(1, 10), (1, 1), (1, 2), (1, 3, 5), (1, 2, 3, 7), (1, 300), (4, 6), (1, 4095)]


def _case(shape: tuple[int, ...], scale: float, zero_point: int = 20) -> Graph:
    return tflite_graph("LOG_SOFTMAX", [activation("x", shape, scale, zero_point)], activation("y", shape, 1 / 16, 127))


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: tuple[int, ...]) -> None:
    check_tflite(_case(shape, 0.1))


@pytest.mark.parametrize("seed", range(60))
def test_every_difference(seed: int) -> None:
    """Two classes, all 256 differences, at scales from tiny to saturating."""
    pairs = np.stack([np.full(256, 127), 127 - np.arange(256)], axis=-1).astype(np.int8)[None]
    check_tflite(_case((1, 256, 2), float(2.0 ** RNG(seed).uniform(-20, 6))), inputs=[[pairs], [pairs[:, :, ::-1]]])


@pytest.mark.parametrize("seed", range(40))
def test_random_scales(seed: int) -> None:
    rng = RNG(seed)
    shape = (1, 8, int(rng.integers(1, 60)))
    check_tflite(_case(shape, float(2.0 ** rng.uniform(-12, 4)), int(rng.integers(-128, 128))), count=10, seed=seed)


def test_fixed_point_logarithm_is_the_real_one() -> None:
    a = np.concatenate([np.arange(2**19, 2**31, 99991), 2 ** np.arange(19, 31), [2**31 - 1]])
    real = np.log(a / 2.0**19)
    assert np.abs(fixed_point.log_from_one(a) / 2.0**26 - real).max() < 2e-6


def test_refused() -> None:
    for scale, zero_point in ((1 / 16, 0), (1 / 8, 127)):
        with pytest.raises(McucError, match="1/16"):
            tflite_graph("LOG_SOFTMAX", [activation("x", (1, 4))], activation("y", (1, 4), scale, zero_point))
    with pytest.raises(McucError, match="scalar"):
        tflite_graph("LOG_SOFTMAX", [activation("x", ())], activation("y", (), 1 / 16, 127))


@pytest.mark.parametrize("seed", range(20))
def test_uint8(seed: int) -> None:
    rng = RNG(seed)
    shape = (1, 8, int(rng.integers(1, 60)))
    check_uint8(_case(shape, float(2.0 ** rng.uniform(-12, 4)), int(rng.integers(-128, 128))), seed=seed, count=12)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([_case(shape, scale) for shape in SHAPES for scale in (0.01, 0.2)], tmp_path)
