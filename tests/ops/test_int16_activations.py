"""Operators with int16 activations (TFLite's 16x8): the reference equals TFLite Micro, the C equals the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import RNG, check_c, check_tflite, constant, tflite_graph

from mcuc import passes
from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Quant, Tensor


def wide(name: str, shape: tuple[int, ...], scale: float = 0.0004) -> Tensor:
    return Tensor(name, shape, DType.INT16, Quant((float(np.float32(scale)),), (0,)))


def int8(name: str, shape: tuple[int, ...], scale: float = 0.05, zero_point: int = 3) -> Tensor:
    return Tensor(name, shape, DType.INT8, Quant((float(np.float32(scale)),), (zero_point,)))


def layer(kind: str, x: tuple[int, ...], w: tuple[int, ...], out: tuple[int, ...], axis: int = 0, seed: int = 0,
          bias: Any = np.int64, spread: int = 1 << 30, per_channel: bool = True, **fields: Any) -> Graph:
    """A layer with weights and a bias of that type (None: without), its outputs spread over most of int16."""
    rng = RNG(seed)
    channels, taps = w[axis], int(np.prod(w)) // w[axis]
    scales = 2.0 ** rng.uniform(-9, -7, channels if per_channel else 1)
    data = constant("w", rng.integers(-127, 128, w).astype(np.int8), scales, axis=axis)
    given: list[Tensor | None] = [wide("x", x), data]
    if bias is not None:
        given.append(constant("b", rng.integers(-spread, spread, channels).astype(bias),
                              [0.0004 * s for s in scales] if bias is np.int32 else (), axis=0))
    scale = 0.0004 * 2.0**-8 * 60 * np.sqrt(taps)
    return tflite_graph(kind, given, wide("y", out, scale), **fields)


def transposed(x: tuple[int, ...], w: tuple[int, ...], out: tuple[int, ...], stride: int, padding: int = 0) -> Graph:
    rng = RNG(9)
    data = constant("w", rng.integers(-127, 128, w).astype(np.int8), 2.0 ** rng.uniform(-9, -7, w[0]), axis=0)
    shape, bias = constant("s", np.array(out, np.int32)), constant("b", rng.integers(-(1 << 30), 1 << 30, w[0]))
    return tflite_graph("TRANSPOSE_CONV", [shape, data, wide("x", x), bias], wide("y", out, 0.0004), padding=padding,
                        strideH=stride, strideW=stride)


def lowest(taps: int) -> Graph:
    """A dense layer whose products are all the largest there is, -32768 by -128, on the samples' lowest values."""
    data = constant("w", np.full((3, taps), -128, np.int8), (2.0**-5,))
    bias = constant("b", np.array([0, 1 << 36, -(1 << 33)], np.int64))
    return tflite_graph("FULLY_CONNECTED", [wide("x", (1, taps), 2.0**-10), data, bias], wide("y", (1, 3), 8.0))


CONV = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
DEPTH = {**CONV, "depthMultiplier": 1}
POOL = {"strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}
LAYERS = {
    "conv": lambda: layer("CONV_2D", (1, 6, 5, 7), (5, 3, 3, 7), (1, 6, 5, 5), **CONV),
    "conv-valid-stride": lambda: layer("CONV_2D", (1, 9, 8, 4), (6, 3, 2, 4), (1, 4, 4, 6), padding=1, seed=1,
                                       **{**CONV, "strideH": 2, "strideW": 2}),
    "conv-pointwise": lambda: layer("CONV_2D", (1, 3, 4, 10), (9, 1, 1, 10), (1, 3, 4, 9), seed=2, **CONV),
    "conv-dilated": lambda: layer("CONV_2D", (1, 7, 7, 3), (4, 3, 3, 3), (1, 7, 7, 4), seed=3,
                                  **{**CONV, "dilationHFactor": 2, "dilationWFactor": 2}),
    "conv-relu6": lambda: layer("CONV_2D", (1, 4, 4, 8), (3, 3, 3, 8), (1, 4, 4, 3), seed=4, fusedActivationFunction=3,
                                **CONV),
    "dense-lowest": lambda: lowest(1100),
    "conv-long-sums": lambda: layer("CONV_2D", (1, 3, 3, 96), (3, 3, 3, 96), (1, 3, 3, 3), seed=5, spread=1 << 36,
                                    **CONV),
    "conv-no-bias": lambda: layer("CONV_2D", (1, 4, 4, 3), (4, 1, 1, 3), (1, 4, 4, 4), seed=6, bias=None, **CONV),
    "conv-int32-bias": lambda: layer("CONV_2D", (1, 4, 4, 3), (4, 3, 3, 3), (1, 4, 4, 4), seed=7, bias=np.int32,
                                     spread=1 << 20, **CONV),
    "conv-per-tensor": lambda: layer("CONV_2D", (1, 4, 4, 3), (4, 1, 1, 3), (1, 4, 4, 4), seed=8, per_channel=False,
                                     **CONV),
    "depthwise": lambda: layer("DEPTHWISE_CONV_2D", (1, 6, 5, 7), (1, 3, 3, 7), (1, 6, 5, 7), axis=3, **DEPTH),
    "depthwise-multiplier": lambda: layer("DEPTHWISE_CONV_2D", (1, 6, 5, 3), (1, 3, 3, 6), (1, 6, 5, 6), axis=3, seed=1,
                                          **{**DEPTH, "depthMultiplier": 2}),
    "depthwise-stride": lambda: layer("DEPTHWISE_CONV_2D", (1, 7, 6, 4), (1, 3, 3, 4), (1, 4, 3, 4), axis=3, seed=2,
                                      spread=1 << 34, **{**DEPTH, "strideH": 2, "strideW": 2}),
    "transpose-conv": lambda: transposed((1, 4, 3, 5), (6, 3, 3, 5), (1, 8, 6, 6), 2),
    "transpose-conv-plain": lambda: transposed((1, 4, 3, 5), (4, 2, 2, 5), (1, 5, 4, 4), 1, padding=1),
    "dense": lambda: layer("FULLY_CONNECTED", (2, 20), (7, 20), (2, 7), per_channel=False),
    "dense-per-channel": lambda: layer("FULLY_CONNECTED", (1, 33), (5, 33), (1, 5), seed=1),
    "dense-no-bias": lambda: layer("FULLY_CONNECTED", (1, 8), (3, 8), (1, 3), seed=2, bias=None, per_channel=False),
}


def pool(kind: str, out: tuple[int, ...], **fields: Any) -> Graph:
    return tflite_graph(kind, [wide("x", (1, 7, 6, 5))], wide("y", out), **{**POOL, **fields})


def two(kind: str, a: tuple[int, ...], b: tuple[int, ...], scale: float = 0.0007, **fields: Any) -> Graph:
    out = tuple(np.broadcast_shapes(a, b))
    return tflite_graph(kind, [wide("a", a), wide("b", b, 0.0003)], wide("y", out, scale), **fields)


def with_constant(kind: str, a: tuple[int, ...], b: tuple[int, ...]) -> Graph:
    data = constant("b", RNG(3).integers(-30000, 30000, b).astype(np.int16), (0.0003,))
    return tflite_graph(kind, [wide("a", a), data], wide("y", a, 0.0006))


def one(kind: str, scale: float, out_scale: float, shape: tuple[int, ...] = (1, 9, 13), **fields: Any) -> Graph:
    return tflite_graph(kind, [wide("x", shape, scale)], wide("y", shape, out_scale), **fields)


def reduced(kind: str, x: tuple[int, ...], axes: list[int], out: tuple[int, ...], scale: float = 0.0004) -> Graph:
    table = constant("axes", np.array(axes, np.int32))
    return tflite_graph(kind, [wide("x", x), table], wide("y", out, scale), keepDims=len(out) == len(x))


def moved(kind: str, table: Any, out: tuple[int, ...]) -> Graph:
    return tflite_graph(kind, [wide("x", (1, 3, 4, 5)), constant("t", np.array(table, np.int32))], wide("y", out))


OTHERS = {
    "average-pool": lambda: pool("AVERAGE_POOL_2D", (1, 4, 3, 5)),
    "average-pool-valid": lambda: pool("AVERAGE_POOL_2D", (1, 3, 2, 5), padding=1, fusedActivationFunction=1),
    "max-pool": lambda: pool("MAX_POOL_2D", (1, 4, 3, 5)),
    "add": lambda: two("ADD", (1, 3, 4, 5), (1, 3, 4, 5)),
    "add-broadcast": lambda: two("ADD", (1, 3, 4, 5), (5,), fusedActivationFunction=1),
    "add-constant": lambda: with_constant("ADD", (1, 3, 4, 5), (5,)),
    "sub": lambda: two("SUB", (1, 3, 4, 5), (1, 1, 4, 5)),
    "mul": lambda: two("MUL", (1, 3, 4, 5), (1, 3, 4, 5), 0.005),
    "mul-constant": lambda: with_constant("MUL", (1, 3, 4, 5), (1,)),
    "maximum": lambda: tflite_graph("MAXIMUM", [wide("a", (2, 6)), wide("b", (2, 6))], wide("y", (2, 6))),
    "minimum": lambda: tflite_graph("MINIMUM", [wide("a", (2, 6)), wide("b", (6,))], wide("y", (2, 6))),
    "logistic": lambda: one("LOGISTIC", 0.00031, 1 / 32768),
    "logistic-power-of-two": lambda: one("LOGISTIC", 2.0**-12, 1 / 32768),
    "tanh": lambda: one("TANH", 0.00017, 1 / 32768),
    "tanh-power-of-two": lambda: one("TANH", 2.0**-11, 1 / 32768),
    "leaky-relu": lambda: one("LEAKY_RELU", 0.0004, 0.0003, alpha=0.1),
    "relu": lambda: one("RELU", 0.0004, 0.0003),
    "relu6": lambda: one("RELU6", 0.0004, 0.0003),
    "abs": lambda: one("ABS", 0.0004, 0.0003),
    "squared-difference": lambda: two("SQUARED_DIFFERENCE", (1, 3, 4, 5), (1, 3, 4, 5), 0.01),
    "select": lambda: tflite_graph(
        "SELECT_V2", [Tensor("c", (2, 6), DType.BOOL), wide("a", (2, 6)), wide("b", (2, 6))], wide("y", (2, 6))),
    "pad": lambda: moved("PAD", [[0, 0], [1, 2], [0, 1], [0, 0]], (1, 6, 5, 5)),
    "transpose": lambda: moved("TRANSPOSE", [0, 2, 3, 1], (1, 4, 5, 3)),
    "concat": lambda: tflite_graph("CONCATENATION", [wide("a", (1, 3, 4, 5)), wide("b", (1, 3, 4, 2))],
                                   wide("y", (1, 3, 4, 7)), axis=3),
    "resize-nearest": lambda: moved("RESIZE_NEAREST_NEIGHBOR", [6, 8], (1, 6, 8, 5)),
    "softmax": lambda: one("SOFTMAX", 0.0003, 1 / 32768, (5, 12), beta=1.0),
    "softmax-flat": lambda: one("SOFTMAX", 0.00001, 1 / 32768, (3, 40), beta=0.5),
    "quantize": lambda: tflite_graph("QUANTIZE", [wide("x", (1, 7, 6))], wide("y", (1, 7, 6), 0.0007)),
    "quantize-to-int8": lambda: tflite_graph("QUANTIZE", [wide("x", (1, 7, 6))], int8("y", (1, 7, 6), 0.09)),
    "quantize-from-int8": lambda: tflite_graph("QUANTIZE", [int8("x", (1, 7, 6))], wide("y", (1, 7, 6), 0.0002)),
    "mean-image": lambda: reduced("MEAN", (1, 6, 5, 4), [1, 2], (1, 4), 0.0003),
    "mean-last": lambda: reduced("MEAN", (1, 6, 5, 4), [3], (1, 6, 5, 1), 0.0003),
    "sum": lambda: reduced("SUM", (1, 6, 5, 4), [2], (1, 6, 1, 4), 0.002),
    "matmul": lambda: tflite_graph(
        "BATCH_MATMUL", [wide("a", (2, 3, 9)), wide("b", (2, 9, 4))], wide("y", (2, 3, 4), 0.01)),
    "matmul-turned": lambda: tflite_graph("BATCH_MATMUL", [wide("a", (3, 9, 2)), wide("b", (1, 4, 9))],
                                          wide("y", (3, 2, 4), 0.01), adjX=True, adjY=True),
}
CASES = {**LAYERS, **OTHERS}


@pytest.mark.parametrize("name", CASES)
def test_the_reference_equals_tflite_micro(name: str) -> None:
    check_tflite(CASES[name]())


def test_the_c_equals_the_reference(tmp_path: Path) -> None:
    check_c([make() for make in CASES.values()], tmp_path, optimize=True)


def test_an_average_whose_sum_leaves_32_bits_is_refused() -> None:
    fields = {"strideH": 1, "strideW": 1, "filterHeight": 256, "filterWidth": 256, "padding": 1}
    graph = tflite_graph("AVERAGE_POOL_2D", [wide("x", (1, 256, 256, 1))], wide("y", (1, 1, 1, 1)), **fields)
    with pytest.raises(McucError, match="a window of 65536 elements"):
        passes.check_supported(graph)


def test_every_exponential_of_the_softmax_is_tflite_micros() -> None:
    """Vectors of two whose differences are all that there are: a scale that makes them steps of the table."""
    lower = np.arange(65536) - 32768
    x = np.stack([np.full(65536, 32767), lower], 1).astype(np.int16)
    graph = tflite_graph("SOFTMAX", [wide("x", x.shape, 10 / 65535)], wide("y", x.shape, 1 / 32768), beta=1.0)
    check_tflite(graph, inputs=[[x]])
