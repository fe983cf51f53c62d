"""Bilinear resize: the reference equals TFLite Micro byte for byte, the C the reference, alone and in a stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import activation, check_c, check_tflite, constant, tflite_graph

from mcuc.errors import McucError
from mcuc.ir import Graph, Tensor
from mcuc.ops.resize_bilinear.tflite import places


def ints(name: str, values: object) -> Tensor:
    return constant(name, np.array(values, np.int32))


def bilinear(shape: tuple[int, ...], size: tuple[int, int], **modes: bool) -> Graph:
    inputs = [activation("x", shape, 0.05, -7), ints("s", list(size))]
    return tflite_graph("RESIZE_BILINEAR", inputs, activation("y", (1, *size, shape[3]), 0.05, -7), **modes)


MODES = [{}, {"alignCorners": True}, {"halfPixelCenters": True}]


@pytest.mark.parametrize("modes", MODES, ids=lambda m: next(iter(m), "plain"))
@pytest.mark.parametrize("size", [(8, 10), (3, 2), (7, 13), (1, 1), (4, 5), (11, 3), (1, 9)])
def test_bilinear(size: tuple[int, int], modes: dict[str, bool]) -> None:
    check_tflite(bilinear((1, 4, 5, 3), size, **modes), 5)


@pytest.mark.parametrize("modes", MODES, ids=lambda m: next(iter(m), "plain"))
def test_bilinear_of_large_images(modes: dict[str, bool]) -> None:
    check_tflite(bilinear((1, 37, 53, 1), (300, 211), **modes), 3)
    check_tflite(bilinear((1, 1, 2, 2), (40, 70), **modes), 3)


def test_what_lies_behind_the_last_row_is_refused() -> None:
    with pytest.raises(ValueError, match="behind the last"):
        places(3, 4000, False, False)
    with pytest.raises(McucError, match="behind the last"):
        bilinear((1, 3, 3, 1), (4000, 3))


@pytest.mark.parametrize(
    "x, y, modes",
    [
        (activation("x", (1, 4, 5, 3)), activation("y", (1, 8, 8, 3), 0.06), {}),
        (activation("x", (4, 5, 3)), activation("y", (8, 8, 3)), {}),
        (
            activation("x", (1, 4, 5, 3)),
            activation("y", (1, 8, 8, 3)),
            {"alignCorners": True, "halfPixelCenters": True},
        ),
    ],
)
def test_what_the_kernel_does_not_compute_is_refused(x: Tensor, y: Tensor, modes: dict[str, bool]) -> None:
    with pytest.raises(McucError, match=r"resize|scales"):
        tflite_graph("RESIZE_BILINEAR", [x, ints("s", [8, 8])], y, **modes)


def test_c_equals_the_reference_through_every_tiling(tmp_path: Path) -> None:
    sizes = [(8, 10), (3, 2), (7, 13)]
    check_c([bilinear((1, 4, 5, 6), size, **modes) for size, modes in zip(sizes, MODES, strict=True)], tmp_path, 4)
