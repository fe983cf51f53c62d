"""CUMSUM along any axis, exclusive and reverse, agrees with TFLite Micro."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, constant, tflite_graph

from mcuc import ops
from mcuc.errors import McucError
from mcuc.ir import Graph


def graph_of(shape: tuple[int, ...], axis: int, exclusive: bool = False, reverse: bool = False, seed: int = 0) -> Graph:
    rng = RNG(seed)
    scale, zero = float(2.0 ** rng.uniform(-6, -2)), int(rng.integers(-128, 128))
    y = activation("y", shape, scale * float(2.0 ** rng.uniform(0, 3)), int(rng.integers(-128, 128)))
    inputs = [activation("x", shape, scale, zero), constant("axis", np.array([axis], np.int32))]
    return tflite_graph("CUMSUM", inputs, y, exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize("axis,exclusive,reverse", list(product(range(-3, 3), (False, True), (False, True))))
def test_axes(axis: int, exclusive: bool, reverse: bool) -> None:
    check_tflite(graph_of((3, 4, 5), axis, exclusive, reverse, axis % 3))


@pytest.mark.parametrize("seed", range(10))
def test_random_scales(seed: int) -> None:
    check_tflite(graph_of((1, 6, 7, 15), seed % 4, seed % 3 == 0, seed % 2 == 0, seed))


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([graph_of((3, 4, 5), axis, exclusive, reverse, 1)
             for axis, exclusive, reverse in product(range(3), (False, True), (False, True))], tmp_path)


def test_sums_that_may_overflow_are_refused() -> None:
    graph = graph_of((1, 16), 1)
    assert "16 values" in "".join(limit(graph.nodes[0], graph) or "" for limit in ops.get("cumsum").limits)


def test_an_axis_out_of_range_is_refused() -> None:
    with pytest.raises(McucError, match="axis 2 of 2"):
        graph_of((3, 4), 2)
