"""TRANSPOSE_CONV agrees with TFLite Micro, and the C with it in every tiling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, bias, check_c, check_tflite, constant, tflite_graph, weights

from mcuc import passes
from mcuc.errors import McucError
from mcuc.ir import Graph

SAME, VALID = 0, 1


@dataclass(frozen=True)
class Case:
    """One transposed convolution; the rest is random from the seed. size: of the output, None for the usual one."""

    input: tuple[int, int] = (4, 5)
    channels: int = 4
    outputs: int = 5
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (2, 2)
    padding: int = SAME
    size: tuple[int, int] | None = None
    fused: int = 0
    per_channel: bool = True
    bias: bool = True
    input_zero: int | None = None
    output_zero: int | None = None


CASES = {
    "plain": Case(),
    "VALID": Case(padding=VALID),
    "no bias": Case(bias=False),
    "stride 1": Case(stride=(1, 1)),
    "stride 1 VALID": Case(stride=(1, 1), padding=VALID),
    "1x1, stride 1": Case(kernel=(1, 1), stride=(1, 1)),
    "1x1, stride 2": Case(kernel=(1, 1)),
    "kernel equals stride": Case(kernel=(2, 2)),
    "kernel below stride": Case(kernel=(2, 1), stride=(3, 2), padding=VALID),
    "kernel 4, stride 2": Case(kernel=(4, 4)),
    "stride 3 by 1": Case(stride=(3, 1), kernel=(4, 2)),
    "odd output": Case(size=(7, 9)),
    "one channel in and out": Case(channels=1, outputs=1),
    "one pixel": Case(input=(1, 1), kernel=(5, 3)),
    "many channels": Case(input=(3, 3), channels=70, outputs=9),
    "per tensor": Case(per_channel=False),
    "lowest zero points": Case(input_zero=-128, output_zero=-128),
    "highest zero points": Case(input_zero=127, output_zero=127),
}


def graph_of(case: Case, seed: int) -> Graph:
    """The graph with random weights, biases, scales and (where the case says nothing) zero points."""
    rng = RNG(seed)
    zeros = [int(rng.integers(-128, 128)) if z is None else z for z in (case.input_zero, case.output_zero)]
    x = activation("x", (1, *case.input, case.channels), float(2.0 ** rng.uniform(-8, -2)), zeros[0])
    w = weights(rng, (case.outputs, *case.kernel, case.channels), per_channel=case.per_channel)
    size = case.size or tuple(
        n * s if case.padding == SAME else (n - 1) * s + k
        for n, k, s in zip(case.input, case.kernel, case.stride, strict=True)
    )
    assert x.quant is not None and w.quant is not None
    taps = case.channels * max(1, np.prod(case.kernel) / np.prod(case.stride))
    spread = x.quant.scale[0] * w.quant.scale[0] * 74 * 74 * taps**0.5
    y = activation("y", (1, *size, case.outputs), float(spread / 2.0 ** rng.uniform(4, 6)), zeros[1])
    shape = constant("shape", np.array(y.shape, np.int32))
    b = [bias(rng, x, w, case.outputs)] if case.bias else []
    return tflite_graph("TRANSPOSE_CONV", [shape, w, x, *b], y, padding=case.padding, strideH=case.stride[0],
                        strideW=case.stride[1], fusedActivationFunction=case.fused)


@pytest.mark.parametrize("name", CASES)
def test_tflite_micro(name: str) -> None:
    check_tflite(graph_of(CASES[name], 1))


@pytest.mark.parametrize("fused", (1, 2, 3))
def test_fused_activation(fused: int) -> None:
    check_tflite(graph_of(Case(fused=fused), 5))


@pytest.mark.parametrize("seed", range(30))
def test_random_shapes(seed: int) -> None:
    rng = RNG(seed)
    kernel, stride = (tuple(int(v) for v in rng.integers(1, 1 + most, 2)) for most in (5, 4))
    check_tflite(graph_of(Case(input=tuple(int(v) for v in rng.integers(1, 7, 2)), channels=int(rng.integers(1, 9)),
                               kernel=kernel, stride=stride, padding=seed % 2), seed), seed=seed)


def test_two_images_at_once_are_refused() -> None:
    graph = graph_of(Case(), 1)
    shape = constant("shape", np.array((2, 8, 10, 5), np.int32))
    x, w = activation("x", (2, 4, 5, 4)), graph.tensors["w"]
    two = tflite_graph("TRANSPOSE_CONV", [shape, w, x], activation("y", (2, 8, 10, 5)), strideH=2, strideW=2)
    with pytest.raises(McucError, match="one image at a time"):
        passes.check_supported(two)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([graph_of(case, 3) for case in CASES.values()], tmp_path, optimize=True)
