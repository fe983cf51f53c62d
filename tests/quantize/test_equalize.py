"""Cross-layer equalisation: the float network's answers stay, its channels come closer to one another."""

from __future__ import annotations

import numpy as np
from float_networks import Net, answers, residual, samples, simplified

from mcuc.quantize.equalize import MOST, equalized
from mcuc.quantize.roles import roles
from mcuc.quantize.runtime import Runtime

X = samples(6, (1, 3, 12, 12))


def test_the_answers_stay_and_the_channels_come_closer() -> None:
    with Runtime("net") as runtime:
        model = simplified(residual(spread=6.0), X, runtime)
    even = equalized(model)
    assert np.abs(answers(model, X) - answers(even, X)).max() < 1e-5
    pair = [w for w in roles(model).weighted.values() if w.node.kind == "Conv"][1:3]  # expansion, depthwise

    def unevenness(constants: dict[str, np.ndarray], name: str) -> float:
        peaks = np.abs(constants[name]).reshape(constants[name].shape[0], -1).max(1)
        return float(peaks.max() / peaks.min())

    assert unevenness(dict(even.constants), pair[0].weight) < unevenness(dict(model.constants), pair[0].weight) / 2


def test_a_clip_keeps_its_bound() -> None:
    """ReLU6 is no ReLU: the layers on both sides of it stay as they are."""
    with Runtime("net") as runtime:
        model = simplified(residual(spread=6.0), X, runtime)
    depthwise = next(w for w in roles(model).weighted.values() if w.node.attrs.get("group", 1) > 1)
    project = next(w for w in roles(model).weighted.values() if model.constants[w.weight].shape[:2] == (8, 24))
    even = equalized(model)
    assert np.array_equal(even.constants[project.weight], model.constants[project.weight])
    assert depthwise.name in {w.name for w in roles(even).weighted.values()}


def test_a_nearly_dead_channel_does_not_blow_up_its_bias() -> None:
    net = Net((1, 3, 12, 12))
    net.conv("x", 4, 3)
    weight = net.rng.normal(0, 1, (4, 3, 3, 3))
    weight[2] *= 1e-9
    net.constants.clear(), net.nodes.clear()
    a = net.node("Conv", "x", net.const(weight), net.const([1.0, 1.0, 1.0, 1.0]), kernel_shape=[3, 3])
    proto = net.done(net.conv(net.node("Relu", a), 2, 4, 1))
    with Runtime("net") as runtime:
        model = simplified(proto, X, runtime)
    first = next(iter(roles(model).weighted.values()))
    moved = equalized(model).constants[first.bias] / model.constants[first.bias]
    assert (moved <= MOST * 1.001).all() and (moved >= 1 / MOST / 1.001).all()
