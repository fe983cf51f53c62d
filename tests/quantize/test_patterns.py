"""Composites in any spelling become one node; the answers stay; what only looks like one is left alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from float_networks import Net, answers, samples, simplified

from mcuc.quantize.runtime import Runtime

SHAPE = (1, 4, 6, 8)
X = samples(4, SHAPE) * np.float32(3)


def gelu_by_division(n: Net, x: str) -> str:
    erf = n.node("Erf", n.node("Div", x, n.const(2**0.5)))
    return n.node("Mul", n.node("Mul", x, n.node("Add", erf, n.const(1.0))), n.const(0.5))


def gelu_by_factor(n: Net, x: str) -> str:
    erf = n.node("Erf", n.node("Mul", x, n.const(0.5**0.5)))
    return n.node("Mul", n.node("Mul", n.const(0.5), x), n.node("Add", n.const(1.0), erf))


def gelu_tanh(n: Net, x: str) -> str:
    cube = n.node("Mul", n.node("Pow", x, n.const(3.0)), n.const(0.044715))
    inner = n.node("Tanh", n.node("Mul", n.node("Add", x, cube), n.const((2 / np.pi) ** 0.5)))
    return n.node("Mul", n.node("Mul", x, n.const(0.5)), n.node("Add", inner, n.const(1.0)))


def hard_swish_clip(n: Net, x: str) -> str:
    clip = n.node("Clip", n.node("Add", x, n.const(3.0)), n.const(0.0), n.const(6.0))
    return n.node("Div", n.node("Mul", x, clip), n.const(6.0))


def hard_swish_sigmoid(n: Net, x: str) -> str:
    return n.node("Mul", n.node("HardSigmoid", x, alpha=1 / 6, beta=0.5), x)


def hard_sigmoid(n: Net, x: str) -> str:
    clip = n.node("Clip", n.node("Add", x, n.const(3.0)), n.const(0.0), n.const(6.0))
    return n.node("Mul", clip, n.const(1 / 6))


def mish(n: Net, x: str) -> str:
    return n.node("Mul", x, n.node("Tanh", n.node("Softplus", x)))


def layer_norm(n: Net, x: str, *, pow_: bool = True, twice: bool = False) -> str:
    mean = n.node("ReduceMean", x, axes=[-1])
    centred = n.node("Sub", x, mean)
    other = n.node("Sub", x, mean) if twice else centred
    square = n.node("Pow", other, n.const(2.0)) if pow_ else n.node("Mul", other, other)
    deviation = n.node("Sqrt", n.node("Add", n.node("ReduceMean", square, axes=[-1]), n.const(1e-5)))
    scaled = n.node("Mul", n.node("Div", centred, deviation), n.const(np.linspace(0.5, 2, 8)))
    return n.node("Add", scaled, n.const(np.linspace(-1, 1, 8)))


def softmax(n: Net, x: str, *, log: bool = False) -> str:
    shifted = n.node("Sub", x, n.node("ReduceMax", x, axes=[1]))
    total = n.node("ReduceSum", n.node("Exp", shifted), n.ints(1))
    return n.node("Sub", shifted, n.node("Log", total)) if log else n.node("Div", n.node("Exp", shifted), total)


def kinds(build: Callable[[Net, str], str]) -> list[str]:
    net = Net(SHAPE)
    proto = net.done(build(net, "x"))
    with Runtime("net") as runtime:
        plain, found = simplified(proto, X, runtime, recognise=False), simplified(proto, X, runtime)
    assert np.abs(answers(plain, X) - answers(found, X)).max() < 2e-5
    return [node.kind for node in found.nodes]


@pytest.mark.parametrize(
    ("build", "kind"),
    (
        (gelu_by_division, "Gelu"),
        (gelu_by_factor, "Gelu"),
        (gelu_tanh, "Gelu"),
        (hard_swish_clip, "HardSwish"),
        (hard_swish_sigmoid, "HardSwish"),
        (hard_sigmoid, "HardSigmoid"),
        (mish, "Mish"),
        (layer_norm, "LayerNormalization"),
        (lambda n, x: layer_norm(n, x, pow_=False), "LayerNormalization"),
        (lambda n, x: layer_norm(n, x, twice=True), "LayerNormalization"),
        (softmax, "Softmax"),
        (lambda n, x: softmax(n, x, log=True), "LogSoftmax"),
    ),
)
def test_every_spelling_becomes_one_node(build: Callable[[Net, str], str], kind: str) -> None:
    assert kinds(build) == [kind]


def test_a_function_with_other_numbers_is_left_alone() -> None:
    def almost(n: Net, x: str) -> str:
        clip = n.node("Clip", n.node("Add", x, n.const(3.0)), n.const(0.0), n.const(5.0))
        return n.node("Div", n.node("Mul", x, clip), n.const(6.0))

    assert "HardSwish" not in kinds(almost)


def test_a_value_that_others_read_is_not_swallowed() -> None:
    net = Net(SHAPE)
    erf = net.node("Erf", net.node("Div", "x", net.const(2**0.5)))
    gelu = net.node("Mul", net.node("Mul", "x", net.node("Add", erf, net.const(1.0))), net.const(0.5))
    proto = net.done(net.node("Add", gelu, erf))
    with Runtime("net") as runtime:
        found = simplified(proto, X, runtime)
    assert "Erf" in [n.kind for n in found.nodes]


def bn(net: Net, x: str, channels: int) -> str:
    numbers = [net.rng.uniform(0.5, 2, channels), net.rng.normal(0, 1, channels), net.rng.normal(0, 1, channels)]
    return net.node("BatchNormalization", x, *map(net.const, numbers), net.const(net.rng.uniform(0.2, 3, channels)))


def test_batch_norms_that_nothing_took_in_are_layers() -> None:
    """First in the network, behind an activation, behind a concatenation, of vectors, behind a dense layer."""
    net = Net((1, 3, 6, 6), seed=4)
    a = net.node("Relu", net.conv(bn(net, "x", 3), 4, 3))
    b = bn(net, net.node("Concat", a, bn(net, a, 4), axis=1), 8)
    c = bn(net, net.node("Flatten", net.node("GlobalAveragePool", net.node("Relu", b))), 8)
    made = bn(net, net.node("Gemm", c, net.const(net.rng.normal(0, 1, (8, 5)))), 5)
    proto, x = net.done(made), samples(8, (1, 3, 6, 6))
    with Runtime("net") as runtime:
        before, after = (simplified(proto, x, runtime, recognise=r) for r in (False, True))
    kinds = [n.kind for n in after.nodes]
    assert "BatchNormalization" not in kinds and kinds[-1] == "Gemm" and kinds.count("Gemm") == 1
    assert np.abs(answers(before, x) - answers(after, x)).max() < 1e-4
