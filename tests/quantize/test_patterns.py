"""A recognised composite computes what its parts did; what only looks like one is left alone. (test_spellings.py has
the spellings.)"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import spellings as s
from float_networks import Net, answers, samples, simplified

from mcuc.quantize.runtime import Runtime

SHAPE = (1, 4, 6, s.C)
X = samples(4, SHAPE) * np.float32(3)
Spelling = Callable[[Net, str], str]


def kinds(build: Spelling) -> list[str]:
    net = Net(SHAPE)
    proto = net.done(build(net, "x"))
    with Runtime("net") as runtime:
        plain, found = simplified(proto, X, runtime, recognise=False), simplified(proto, X, runtime)
    assert np.abs(answers(plain, X) - answers(found, X)).max() < 2e-5
    return [node.kind for node in found.nodes]


@pytest.mark.parametrize("build", (s.gelu_torch, s.layer_norm_keras, s.layer_norm_sums, s.log_softmax_tf))
def test_a_composite_computes_what_its_parts_do(build: Spelling) -> None:
    assert len(kinds(build)) == 1


def almost_hard_swish(n: Net, x: str) -> str:
    clip = n.node("Clip", n.node("Add", x, n.const(3.0)), n.const(0.0), n.const(5.0))
    return n.node("Div", n.node("Mul", x, clip), n.const(6.0))


def norm_by_the_wrong_mean(n: Net, x: str) -> str:
    """The variance is around the mean of half the row."""
    centred = n.node("Sub", x, n.node("ReduceMean", x, axes=[-1]))
    half = n.node("Slice", x, n.ints(0), n.ints(s.C // 2), n.ints(-1))
    other = n.node("Sub", x, n.node("ReduceMean", half, axes=[-1]))
    variance = n.node("ReduceMean", n.node("Mul", other, other), axes=[-1])
    return n.node("Div", centred, n.node("Sqrt", n.node("Add", variance, n.const(1e-5))))


def a_sum_that_leaves_one_out(n: Net, x: str) -> str:
    power = n.node("Exp", x)
    part = n.node("Slice", power, n.ints(0), n.ints(s.C - 1), n.ints(-1))
    return n.node("Div", power, n.node("ReduceSum", part, n.ints(-1)))


@pytest.mark.parametrize("build", (almost_hard_swish, norm_by_the_wrong_mean, a_sum_that_leaves_one_out))
def test_what_computes_something_else_is_left_alone(build: Spelling) -> None:
    assert not {"HardSwish", "LayerNormalization", "SimplifiedLayerNormalization", "Softmax"} & {*kinds(build)}


def test_a_value_that_others_read_is_not_swallowed() -> None:
    net = Net(SHAPE)
    erf = net.node("Erf", net.node("Div", "x", net.const(2**0.5)))
    gelu = net.node("Mul", net.node("Mul", "x", net.node("Add", erf, net.const(1.0))), net.const(0.5))
    proto = net.done(net.node("Add", gelu, erf))
    with Runtime("net") as runtime:
        found = simplified(proto, X, runtime)
    assert "Erf" in [n.kind for n in found.nodes]


def plus_itself(n: Net, x: str, **factors: float) -> str:
    """A product to which a value of run time is added, as ONNX Runtime joins x W + h R."""
    return n.node("Gemm", x, n.const(n.rng.normal(0, 0.5, (8, 8))), x, **factors)


def two_values(n: Net, x: str) -> str:
    return n.node("Gemm", n.node("Relu", x), n.node("Tanh", x), n.const(n.rng.normal(0, 1, 6)), transB=1, alpha=0.5)


def constant_first(n: Net, x: str) -> str:
    return n.node(
        "Gemm", n.const(n.rng.normal(0, 1, (6, 5))), x, n.const(n.rng.normal(0, 1, (5, 1))), transA=1, beta=2.0
    )


@pytest.mark.parametrize(
    ("build", "wanted"),
    (
        (plus_itself, "Gemm Add"),
        (lambda n, x: plus_itself(n, x, alpha=0.5, beta=0.3), "Gemm Mul Add"),
        (two_values, "Relu Tanh Transpose MatMul Mul Add"),
        (constant_first, "MatMul Add"),
    ),
)
def test_a_gemm_is_its_parts(build: Spelling, wanted: str) -> None:
    net, x = Net((6, 8)), samples(4, (6, 8))
    proto = net.done(build(net, "x"))
    with Runtime("net") as runtime:
        plain, found = simplified(proto, x, runtime, recognise=False), simplified(proto, x, runtime)
    assert np.abs(answers(plain, x) - answers(found, x)).max() < 2e-5
    assert [n.kind for n in found.nodes] == wanted.split()
    assert not any({"alpha", "beta"} & {*n.attrs} for n in found.nodes)


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


def test_a_long_chain_that_computes_nothing_known_is_soon_given_up() -> None:
    """Runs are no longer than spellings are: four hundred nodes took a quarter of an hour when every run was tried."""
    net, x = Net((1, 4, 4, 4), seed=1), "x"
    for _ in range(100):
        x = net.node("Mul", net.node("Exp", net.node("Neg", net.node("Mul", x, x))), net.const(0.7))
    start = time.monotonic()
    with Runtime("chain") as runtime:
        model = simplified(net.done(x), samples(2, (1, 4, 4, 4)), runtime)
    assert len(model.nodes) == 400 and time.monotonic() - start < 30
