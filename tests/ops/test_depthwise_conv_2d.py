"""DEPTHWISE_CONV_2D agrees with TFLite Micro, uint8 models with LiteRT's reference kernels, and the C with both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from harness import RNG, activation, bias, check_c, check_tflite, check_uint8, tflite_graph, weights

from mcuc.ir import Graph, Quant
from mcuc.ops._spatial import Window, same_padding

SAME, VALID = 0, 1


@dataclass(frozen=True)
class Case:
    """One depthwise convolution; the rest is random from the seed."""

    size: tuple[int, int] = (6, 7)
    channels: int = 5
    multiplier: int = 1
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: int = SAME
    fused: int = 0
    per_channel: bool = True
    bias: bool = True
    input_zero: int | None = None
    output_zero: int | None = None


CASES = {
    "plain": Case(),
    **{f"multiplier {m}": Case(channels=3, multiplier=m) for m in range(2, 9)},
    "one channel, multiplier 8": Case(channels=1, multiplier=8, kernel=(10, 8), size=(12, 9), stride=(2, 2)),
    "stride 2 SAME even": Case(size=(8, 8), stride=(2, 2)),
    "stride 2 SAME odd": Case(size=(7, 9), stride=(2, 2)),
    "stride 1 by 2 VALID": Case(size=(7, 9), stride=(1, 2), padding=VALID),
    "dilation 2": Case(size=(9, 9), dilation=(2, 2)),
    "dilation 1 by 3 VALID": Case(size=(5, 11), dilation=(1, 3), padding=VALID),
    "whole image": Case(size=(5, 6), kernel=(5, 6), padding=VALID),
    "1x1": Case(kernel=(1, 1)),
    "one pixel": Case(size=(1, 1)),
    "kernel wider than the image": Case(size=(2, 2), kernel=(5, 5), channels=8),
    "sixteen channels": Case(channels=16, fused=3),
    "no bias": Case(bias=False),
    "per tensor": Case(per_channel=False),
    "relu": Case(fused=1),
    "relu n1 to 1": Case(fused=2),
    "lowest zero points": Case(input_zero=-128, output_zero=-128),
    "highest zero points": Case(input_zero=127, output_zero=127),
    "many taps": Case(size=(40, 3), kernel=(40, 3), padding=VALID),
}
UNSIGNED = ("plain", "multiplier 2", "stride 2 SAME odd", "whole image", "no bias", "relu")


def graph_of(case: Case, seed: int, weight_zero: int = 0) -> Graph:
    """The graph with random weights, biases, scales and (where the case says nothing) zero points."""
    rng = RNG(seed)
    zeros = [int(rng.integers(-128, 128)) if z is None else z for z in (case.input_zero, case.output_zero)]
    x = activation("x", (1, *case.size, case.channels), float(2.0 ** rng.uniform(-8, -2)), zeros[0])
    outputs = case.channels * case.multiplier
    w = weights(rng, (1, *case.kernel, outputs), axis=3, per_channel=case.per_channel)
    assert x.quant is not None and w.quant is not None
    if weight_zero:
        w = replace(w, quant=Quant(w.quant.scale, (weight_zero,)))
    pad = same_padding(case.size, case.kernel, case.stride, case.dilation) if case.padding == SAME else (0, 0, 0, 0)
    oh, ow = Window(case.kernel, case.stride, case.dilation, pad).output(*case.size)
    spread = x.quant.scale[0] * w.quant.scale[0] * 74 * 74 * (case.kernel[0] * case.kernel[1]) ** 0.5
    y = activation("y", (1, oh, ow, outputs), float(spread / 2.0 ** rng.uniform(4, 8)), zeros[1])
    return tflite_graph("DEPTHWISE_CONV_2D", [x, w, bias(rng, x, w, outputs) if case.bias else None], y,
                        strideH=case.stride[0], strideW=case.stride[1], padding=case.padding,
                        depthMultiplier=case.multiplier, dilationHFactor=case.dilation[0],
                        dilationWFactor=case.dilation[1], fusedActivationFunction=case.fused)


@pytest.mark.parametrize("name", CASES)
def test_tflite_micro(name: str) -> None:
    check_tflite(graph_of(CASES[name], 1))


@pytest.mark.parametrize("seed", range(20))
def test_random_scales(seed: int) -> None:
    case = Case(channels=24, kernel=(1, 2), per_channel=bool(seed % 2), fused=seed % 4)
    check_tflite(graph_of(case, seed), seed=seed)


@pytest.mark.parametrize("name", UNSIGNED)
def test_uint8(name: str) -> None:
    check_uint8(graph_of(replace(CASES[name], per_channel=False), 2, weight_zero=-5))


@pytest.mark.parametrize("seed", range(20))
def test_uint8_random_scales(seed: int) -> None:
    case = Case(channels=24, kernel=(1, 2), per_channel=False, fused=seed % 4)
    check_uint8(graph_of(case, seed, weight_zero=seed * 12 - 120), seed=seed)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    unsigned = [check_uint8(graph_of(replace(CASES[n], per_channel=False), 4, weight_zero=9)) for n in UNSIGNED[:4]]
    check_c([*(graph_of(case, 3) for case in CASES.values()), *unsigned], tmp_path, optimize=True)
