"""CONV_2D agrees with TFLite Micro, uint8 models with LiteRT's reference kernels, and the C with both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, bias, check_c, check_tflite, check_uint8, tflite_graph, weights

from mcuc.ir import Graph, Quant
from mcuc.ops._spatial import Window, same_padding

SAME, VALID = 0, 1


@dataclass(frozen=True)
class Case:
    """One convolution; the rest is random from the seed."""

    size: tuple[int, int] = (6, 7)
    channels: int = 4
    outputs: int = 5
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: int = SAME
    groups: int = 1
    fused: int = 0
    per_channel: bool = True
    bias: bool = True
    input_zero: int | None = None
    output_zero: int | None = None


CASES = {
    "plain": Case(),
    "stride 2 SAME even": Case(size=(8, 8), stride=(2, 2)),
    "stride 2 SAME odd": Case(size=(7, 9), stride=(2, 2)),
    "stride 2 SAME mixed, kernel 2": Case(size=(7, 8), kernel=(2, 2), stride=(2, 2)),
    "stride 3 by 1": Case(size=(9, 5), stride=(3, 1)),
    "VALID": Case(padding=VALID),
    "VALID stride 2": Case(size=(8, 9), padding=VALID, stride=(2, 2)),
    "dilation 2": Case(size=(9, 9), dilation=(2, 2)),
    "dilation 2 by 3 VALID": Case(size=(9, 11), dilation=(2, 3), padding=VALID),
    "groups 2": Case(channels=6, outputs=8, groups=2),
    "groups 3, one output each": Case(channels=6, outputs=3, groups=3),
    "1x1": Case(kernel=(1, 1), channels=9, outputs=7),
    "1x1 stride 2": Case(kernel=(1, 1), stride=(2, 2)),
    "1x1 grouped": Case(kernel=(1, 1), channels=8, outputs=4, groups=2),
    "whole image": Case(size=(6, 7), kernel=(6, 7), padding=VALID),
    "kernel wider than the image": Case(size=(2, 3), kernel=(5, 5)),
    "one pixel": Case(size=(1, 1)),
    "one pixel 1x1": Case(size=(1, 1), kernel=(1, 1)),
    "one channel, long kernel": Case(size=(12, 5), channels=1, kernel=(10, 4), stride=(2, 2)),
    "no bias": Case(bias=False),
    "per tensor": Case(per_channel=False),
    "relu": Case(fused=1),
    "relu n1 to 1": Case(fused=2),
    "relu6": Case(fused=3),
    "lowest zero points": Case(input_zero=-128, output_zero=-128),
    "highest zero points": Case(input_zero=127, output_zero=127),
    "many taps": Case(size=(4, 4), channels=130, outputs=3, kernel=(3, 3)),
    "very many taps": Case(size=(8, 8), channels=512, outputs=2, kernel=(8, 8), padding=VALID),
}
UNSIGNED = ("plain", "stride 2 SAME odd", "VALID", "1x1", "1x1 stride 2", "whole image", "relu6", "one pixel")


def graph_of(case: Case, seed: int, weight_zero: int = 0) -> Graph:
    """The graph with random weights, biases, scales and (where the case says nothing) zero points."""
    rng = RNG(seed)
    zeros = [int(rng.integers(-128, 128)) if z is None else z for z in (case.input_zero, case.output_zero)]
    x = activation("x", (1, *case.size, case.channels), float(2.0 ** rng.uniform(-8, -2)), zeros[0])
    w = weights(rng, (case.outputs, *case.kernel, case.channels // case.groups), per_channel=case.per_channel)
    if weight_zero:
        assert w.quant is not None
        w = replace(w, quant=Quant(w.quant.scale, (weight_zero,)))
    pad = same_padding(case.size, case.kernel, case.stride, case.dilation) if case.padding == SAME else (0, 0, 0, 0)
    oh, ow = Window(case.kernel, case.stride, case.dilation, pad).output(*case.size)
    assert x.quant is not None and w.quant is not None
    taps = w.elements // case.outputs
    spread = x.quant.scale[0] * float(np.mean(w.quant.scale)) * 74 * 74 * np.sqrt(taps)  # of the accumulators, real
    y = activation("y", (1, oh, ow, case.outputs), float(spread / 2.0 ** rng.uniform(4, 8)), zeros[1])
    inputs = [x, w, bias(rng, x, w, case.outputs) if case.bias else None]
    return tflite_graph("CONV_2D", inputs, y, strideH=case.stride[0], strideW=case.stride[1], padding=case.padding,
                        dilationHFactor=case.dilation[0], dilationWFactor=case.dilation[1],
                        fusedActivationFunction=case.fused)


@pytest.mark.parametrize("name", CASES)
def test_tflite_micro(name: str) -> None:
    check_tflite(graph_of(CASES[name], 1))


@pytest.mark.parametrize("seed", range(40))
def test_random_scales(seed: int) -> None:
    check_tflite(graph_of(Case(outputs=24, kernel=(1, 1), per_channel=bool(seed % 2), fused=seed % 4), seed), seed=seed)


def random_case(seed: int) -> Case:
    """Any geometry whose window fits."""
    rng = RNG(1000 + seed)
    groups = int(rng.integers(1, 4))
    stride, dilation, size, kernel = (tuple(int(v) for v in rng.integers(1, m, 2)) for m in (4, 4, 10, 5))
    padding = int(rng.integers(2))
    if any((k - 1) * d + 1 > n for k, d, n in zip(kernel, dilation, size, strict=True)):
        padding = SAME
    return Case(size, groups * int(rng.integers(1, 6)), groups * int(rng.integers(1, 5)), kernel, stride, dilation,
                padding, groups, int(rng.integers(4)), bool(rng.integers(2)), bool(rng.integers(2)))


@pytest.mark.parametrize("seed", range(80))
def test_random_geometry(seed: int) -> None:
    check_tflite(graph_of(random_case(seed), seed), seed=seed)


@pytest.mark.slow
def test_c_random_geometry(tmp_path: Path) -> None:
    check_c([graph_of(random_case(seed), seed) for seed in range(100, 130)], tmp_path, optimize=True)


@pytest.mark.parametrize("name", UNSIGNED)
def test_uint8(name: str) -> None:
    check_uint8(graph_of(replace(CASES[name], per_channel=False), 2, weight_zero=-5))


@pytest.mark.parametrize("seed", range(30))
def test_uint8_random_scales(seed: int) -> None:
    case = Case(outputs=24, kernel=(1, 1), per_channel=False, fused=seed % 4)
    check_uint8(graph_of(case, seed, weight_zero=seed * 8 - 120), seed=seed)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    graphs = [graph_of(case, 3) for name, case in CASES.items() if name != "very many taps"]
    unsigned = [check_uint8(graph_of(replace(CASES[n], per_channel=False), 4, weight_zero=9)) for n in UNSIGNED[:5]]
    check_c([*graphs, *unsigned], tmp_path, optimize=True)
