"""FULLY_CONNECTED agrees with TFLite Micro, uint8 models with LiteRT's reference kernels, and the C with both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, bias, check_c, check_tflite, check_uint8, constant, tflite_graph, weights

from mcuc.errors import McucError
from mcuc.ir import Graph, Quant


@dataclass(frozen=True)
class Case:
    """One dense layer; the rest is random from the seed."""

    shape: tuple[int, ...] = (1, 20)
    outputs: int = 7
    keep: bool = False
    fused: int = 0
    per_channel: bool = False
    bias: bool = True
    input_zero: int | None = None
    output_zero: int | None = None
    weight_zero: int = 0
    runtime: bool = False  # weights


CASES = {
    "plain": Case(),
    "per channel": Case(per_channel=True),
    "per channel, no bias": Case(per_channel=True, bias=False),
    "no bias": Case(bias=False),
    "one input": Case(shape=(1, 1)),
    "one output": Case(outputs=1),
    "several rows": Case(shape=(5, 12)),
    "rank 3, dimensions kept": Case(shape=(1, 6, 10), keep=True),
    "rank 4 flattened to rows": Case(shape=(1, 2, 3, 8)),
    "relu": Case(fused=1),
    "relu n1 to 1": Case(fused=2),
    "relu6": Case(fused=3),
    "lowest zero points": Case(input_zero=-128, output_zero=-128),
    "highest zero points": Case(input_zero=127, output_zero=127),
    "many inputs": Case(shape=(1, 4001), outputs=5),
    "weight zero point": Case(weight_zero=-11),
    "run-time weights": Case(runtime=True),
    "run-time weights, no bias": Case(runtime=True, bias=False, shape=(3, 9), outputs=6),
    "run-time weights, relu6": Case(runtime=True, shape=(4, 7), fused=3),
    "run-time weights, zero point": Case(runtime=True, weight_zero=-11, shape=(2, 3, 8), keep=True),
}


def graph_of(case: Case, seed: int) -> Graph:
    """The graph with random weights, biases, scales and (where the case says nothing) zero points."""
    rng = RNG(seed)
    zeros = [int(rng.integers(-128, 128)) if z is None else z for z in (case.input_zero, case.output_zero)]
    x = activation("x", case.shape, float(2.0 ** rng.uniform(-8, -2)), zeros[0])
    w = weights(rng, (case.outputs, case.shape[-1]), per_channel=case.per_channel)
    assert x.quant is not None and w.quant is not None
    if case.weight_zero:
        w = replace(w, quant=Quant(w.quant.scale, (case.weight_zero,)))
    known = w
    if case.runtime:
        w = replace(w, data=None)
    rows = x.elements // case.shape[-1]
    shape = (*case.shape[:-1], case.outputs) if case.keep else (rows, case.outputs)
    spread = x.quant.scale[0] * w.quant.scale[0] * 74 * 74 * case.shape[-1] ** 0.5
    y = activation("y", shape, float(spread / 2.0 ** rng.uniform(4, 8)), zeros[1])
    return tflite_graph("FULLY_CONNECTED", [x, w, bias(rng, x, known, case.outputs) if case.bias else None], y,
                        keepNumDims=case.keep, fusedActivationFunction=case.fused)


@pytest.mark.parametrize("name", CASES)
def test_tflite_micro(name: str) -> None:
    check_tflite(graph_of(CASES[name], 1))


@pytest.mark.parametrize("seed", range(60))
def test_random_scales(seed: int) -> None:
    """The per-tensor multiplier comes from the float32 product of the scales, the per-channel ones from doubles."""
    case = Case(shape=(8, 16), outputs=32, per_channel=seed % 3 == 0, fused=seed % 4)
    check_tflite(graph_of(case, seed), seed=seed)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if not case.per_channel])
def test_uint8(name: str) -> None:
    check_uint8(graph_of(replace(CASES[name], weight_zero=7), 2))


@pytest.mark.parametrize("seed", range(20))
def test_uint8_random_scales(seed: int) -> None:
    check_uint8(graph_of(Case(shape=(8, 16), outputs=32, weight_zero=seed * 12 - 120, fused=seed % 4), seed), seed=seed)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    unsigned = [check_uint8(graph_of(replace(CASES[n], weight_zero=9), 4)) for n in ("plain", "no bias", "relu6")]
    check_c([*(graph_of(case, 3) for case in CASES.values()), *unsigned], tmp_path, optimize=True)


def test_run_time_weights_with_a_scale_for_every_output_are_refused() -> None:
    with pytest.raises(McucError, match="per-tensor"):
        graph_of(Case(runtime=True, per_channel=True), 1)


def test_the_multiplier_is_the_double_precision_product_of_the_scales() -> None:
    """A published autoencoder's last layer: its float32 product would move this accumulator over a tie."""
    x = activation("x", (1, 1), 0.024790890514850616, -128)
    w = constant("w", np.ones((1, 1), np.int8), (0.0195566825568676,))
    b = constant("b", np.array([-88337], np.int32), (0.0004848275857511908,))
    y = activation("y", (1, 1), 0.36449846625328064, 96)
    graph = tflite_graph("FULLY_CONNECTED", (x, w, b), y)
    check_tflite(graph, inputs=[[np.full((1, 1), -128, np.int8)]])
