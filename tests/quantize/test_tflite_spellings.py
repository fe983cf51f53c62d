"""Composites as TensorFlow's converter leaves them in a float .tflite, recognised; the int8 form means the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from float_networks import samples
from float_tflite_files import TfliteNet
from test_spellings import ATTENTION, FAST, GROUP, INSTANCE, L2, MOVES, NORM, RMS, answers, expected, snr

from mcuc.importers import float_tflite
from mcuc.quantize.network import convert_with
from mcuc.quantize.runtime import Runtime
from mcuc.verify import oracle

C, T = 8, 6
TOKENS, IMAGE = (1, T, C), (1, 6, 6, C)


def gelu(n: TfliteNet, x: int) -> int:
    return n.op("GELU", [x], n.shape(x), "GeluOptions", approximate=False)


def gelu_by_tanh(n: TfliteNet, x: int) -> int:
    cube = n.binary("MUL", n.binary("MUL", n.binary("MUL", x, x), x), n.const(0.044715))
    inner = n.unary("TANH", n.binary("MUL", n.binary("ADD", x, cube), n.const((2 / np.pi) ** 0.5)))
    return n.binary("MUL", n.binary("MUL", x, n.const(0.5)), n.binary("ADD", inner, n.const(1.0)))


def hard_swish(n: TfliteNet, x: int) -> int:
    gate = n.unary("RELU6", n.binary("ADD", x, n.const(3.0)))
    return n.binary("MUL", x, n.binary("MUL", gate, n.const(1 / 6)))


def mish(n: TfliteNet, x: int) -> int:
    soft = n.unary("LOG", n.binary("ADD", n.unary("EXP", x), n.const(1.0)))
    return n.binary("MUL", x, n.unary("TANH", soft))


def _moments(n: TfliteNet, x: int, *axes: int) -> tuple[int, int]:
    """The mean, and 1 / deviation."""
    mean = n.mean(x, *axes)
    variance = n.mean(n.binary("SQUARED_DIFFERENCE", x, mean), *axes)
    return mean, n.unary("RSQRT", n.binary("ADD", variance, n.const(1e-3)))


def _batch_norm(n: TfliteNet, x: int, shape: tuple[int, ...], *axes: int) -> int:
    """tf.nn.batch_normalization: x (gamma / s) + (beta - mean (gamma / s))."""
    mean, root = _moments(n, x, *axes)
    factor = n.binary("MUL", root, n.const(n.rng.uniform(0.5, 2, shape)))
    shift = n.binary("SUB", n.const(n.rng.uniform(-1, 1, shape)), n.binary("MUL", mean, factor))
    return n.binary("ADD", n.binary("MUL", x, factor), shift)


def layer_norm(n: TfliteNet, x: int) -> int:
    return _batch_norm(n, x, (C,), -1)


def layer_norm_between_convolutions(n: TfliteNet, x: int) -> int:
    """Channels last in the file, first in ONNX: its transposes go through the norm."""
    return n.conv(_batch_norm(n, n.conv(x, C), (C,), -1), C)


def rms_norm(n: TfliteNet, x: int) -> int:
    squares = n.binary("ADD", n.mean(n.unary("SQUARE", x), -1), n.const(1e-6))
    return n.binary("MUL", n.binary("MUL", x, n.unary("RSQRT", squares)), n.const(n.rng.uniform(0.5, 2, C)))


def second_norm(n: TfliteNet, x: int) -> int:
    total = n.binary("MAXIMUM", n.mean(n.unary("SQUARE", x), -1, kind="SUM"), n.const(1e-12))
    return n.binary("MUL", x, n.unary("RSQRT", total))


def instance_norm(n: TfliteNet, x: int) -> int:
    return n.conv(_batch_norm(n, n.conv(x, C), (C,), 1, 2), C)


def group_norm(n: TfliteNet, x: int) -> int:
    groups = n.shaped(n.conv(x, C), 1, 6, 6, 2, C // 2)
    return n.conv(n.shaped(_batch_norm(n, groups, (1, 1, 1, 2, C // 2), 1, 2, 4), *IMAGE), C)


def softmax(n: TfliteNet, x: int) -> int:
    power = n.unary("EXP", n.binary("SUB", x, n.mean(x, -1, kind="REDUCE_MAX")))
    return n.binary("DIV", power, n.mean(power, -1, kind="SUM"))


def attention(n: TfliteNet, x: int, masked: bool = False) -> int:
    """keras.layers.MultiHeadAttention after its Einsum nodes are lowered."""
    q, k, v = (n.turned(n.shaped(n.dense(x, C), 1, T, 2, C // 2), 0, 2, 1, 3) for _ in "qkv")
    scaled, shape = n.binary("MUL", q, n.const((C // 2) ** -0.5)), (1, 2, T, T)
    scores = n.op("BATCH_MATMUL", [scaled, k], shape, "BatchMatMulOptions", adjX=False, adjY=True)
    if masked:
        scores = n.binary("ADD", scores, n.const(np.triu(np.full((1, 1, T, T), -1e9), 1)))
    weights = n.op("SOFTMAX", [scores], shape, "SoftmaxOptions", beta=1.0)
    mixed = n.op("BATCH_MATMUL", [weights, v], (1, 2, T, C // 2), "BatchMatMulOptions", adjX=False, adjY=False)
    return n.dense(n.shaped(n.turned(mixed, 0, 2, 1, 3), 1, T, C), C)


def squeeze(n: TfliteNet, x: int, hard: bool = False) -> int:
    inner = n.conv(n.unary("RELU", n.conv(n.mean(x, 1, 2), 4)), C)
    if not hard:
        return n.binary("MUL", x, n.unary("LOGISTIC", inner))
    gate = n.unary("RELU6", n.binary("ADD", inner, n.const(3.0)))
    return n.binary("MUL", x, n.binary("MUL", gate, n.const(1 / 6)))


Spelling = Callable[[TfliteNet, int], int]
SCALED = ATTENTION.replace("Softmax", "Where Softmax")
CASES: dict[str, tuple[Spelling, str, tuple[int, ...], str, float]] = {
    "GELU": (gelu, "Gelu", TOKENS, "tflite", 36),
    "GELU by tanh": (gelu_by_tanh, "Gelu", TOKENS, "tflite", 36),
    "hard-swish": (hard_swish, "HardSwish", TOKENS, "tflite", 36),
    "Mish": (mish, "Mish", TOKENS, "tflite", 36),
    "layer norm": (layer_norm, NORM, TOKENS, "onnx", 36),
    "layer norm of an image": (layer_norm_between_convolutions, f"Conv {NORM} Conv", IMAGE, "onnx", 33),
    "RMS norm": (rms_norm, RMS, TOKENS, "onnx", 36),
    "second norm": (second_norm, L2, TOKENS, "tflite", 36),
    "instance norm": (instance_norm, f"Conv {INSTANCE} Conv", IMAGE, "onnx", 33),
    "group norm": (group_norm, f"Conv {GROUP} Conv", IMAGE, "onnx", 33),
    "softmax": (softmax, "Softmax", TOKENS, "tflite", 36),
    "attention": (attention, f"4*Gemm Mul {ATTENTION}", TOKENS, "tflite", 30),
    "attention, masked": (lambda n, x: attention(n, x, True), f"4*Gemm Mul {SCALED}", TOKENS, "tflite", 30),
    "squeeze and excitation": (squeeze, "2*Conv Relu ReduceMean Sigmoid Mul", IMAGE, "tflite", 34),
    "hard gates": (lambda n, x: squeeze(n, x, True), "2*Conv Relu ReduceMean HardSigmoid Mul", IMAGE, "tflite", 34),
}


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    with Runtime("net") as made:
        yield made


@pytest.mark.parametrize("name", CASES)
def test_a_spelling_of_a_float_tflite_is_recognised_and_keeps_its_meaning(name: str, runtime: Runtime) -> None:
    build, kinds, shape, profile, least = CASES[name]
    net = TfliteNet(shape)
    raw, columns = net.done(build(net, net.x)), samples(6, shape) * np.float32(1.5)
    proto: Any = float_tflite.to_onnx(raw, "net", "net")
    made = convert_with(runtime, proto, "net", "net", [columns], FAST)
    found = [n.kind for n in made.original.nodes if n.kind not in MOVES]
    assert Counter(found) == expected(kinds), " ".join(found)
    assert made.graph.profile == profile, made.graph.notes
    wanted = np.stack([y for (y,) in oracle.litert_reference(raw, [[x] for x in columns])])
    assert snr(wanted, answers(made, columns)) >= least
