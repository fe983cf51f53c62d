"""The space of depthwise-separable networks: keys, layers, draws, and the cost-and-front arithmetic."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mcuc.errors import McucError
from mcuc.search.layers import same_padding
from mcuc.search.pareto import Constraints, Cost, Evaluated, choose, dominates, fits, front
from mcuc.search.spaces.ds_conv import (
    KERNELS,
    Candidate,
    Space,
    Stage,
    StageChoice,
    contains,
    cross,
    largest,
    mutate,
    parse,
    sample,
    smallest,
    space_for,
    to_layers,
)

SMALL = Space((8, 12), 1, 3, 1, (4, 8), (StageChoice(2, (4, 8), 2),))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (96, 96, 3), (200, 300, 3), (8, 8, 1)])
def test_a_space_exists_for_every_image_size(shape: tuple[int, int, int]) -> None:
    space = space_for(shape, 10)
    for candidate in (smallest(space), largest(space)):
        layers = to_layers(space, candidate)
        assert layers[0].in_shape == (candidate.resolution, candidate.resolution, shape[2])
        assert layers[-1].op == "softmax" and layers[-1].out_shape == (1, 1, 10)
        assert 2 <= layers[-4].out_shape[0] <= 8
        assert all(s.width % 4 == 0 for s in candidate.stages)
    assert space.resolutions[-1] <= 96


def test_keys_read_back_and_strangers_are_refused() -> None:
    rng = np.random.default_rng(0)
    space = space_for((28, 28, 1), 10)
    for _ in range(200):
        candidate = sample(space, rng)
        assert parse(candidate.key) == candidate and contains(space, candidate)
    for key in ("", "r28", "r28-s16", "r28-s16-w32k7", "r28-s16-w32k33x", "r28-s16-w99999k3"):
        with pytest.raises(McucError):
            parse(key)


def test_mutation_and_crossing_stay_in_the_space_and_reach_all_of_it() -> None:
    rng = np.random.default_rng(1)
    seen = {smallest(SMALL).key: smallest(SMALL)}
    kernels = [k for depth in (1, 2) for k in product(KERNELS, repeat=depth)]
    everything = {Candidate(r, stem, (Stage(w, k),)).key for r, stem, w, k in product((8, 12), (4, 8), (4, 8), kernels)}
    assert len(everything) == 2 * 2 * 2 * 6
    for _ in range(3000):
        pool = list(seen.values())
        a, b = (pool[int(i)] for i in rng.integers(len(pool), size=2))
        child = mutate(SMALL, cross(a, b, rng), rng)
        assert contains(SMALL, child)
        seen[child.key] = child
    assert set(seen) == everything


def test_layers_connect_and_count() -> None:
    layers = to_layers(SMALL, Candidate(12, 8, (Stage(4, (3, 5)),)))
    shapes = {"input": (12, 12, 1)} | {one.name: one.out_shape for one in layers}
    assert [one.op for one in layers] == ["conv_2d", "depthwise_conv_2d", "conv_2d", "depthwise_conv_2d", "conv_2d",
                                          "add", "mean", "fully_connected", "softmax"]
    for one in layers:
        assert all(shapes[name] == one.in_shape for name in one.inputs)
    assert layers[5].inputs == ("stage0.block0.pointwise", "stage0.block1.pointwise")
    assert layers[0].macs == 12 * 12 * 8 * 9 and layers[1].macs == 6 * 6 * 8 * 9
    assert sum(one.weights for one in layers) == 72 + 72 + 32 + 100 + 16 + 12
    assert same_padding(28, 3, 2) == (0, 1) and same_padding(28, 5, 2) == (1, 2) and same_padding(7, 5, 1) == (2, 2)


def evaluated(accuracy: float, latency: float, sram: int, name: int = 8) -> Evaluated:
    return Evaluated(Candidate(name, 8, (Stage(4, (3,)),)), accuracy, Cost(sram, 1000, latency))


def test_the_front_is_what_nothing_dominates() -> None:
    rng = np.random.default_rng(2)
    found = [evaluated(*(float(v) for v in rng.integers(0, 6, 2)), int(rng.integers(0, 6)), i) for i in range(80)]
    kept = front(found)
    for one in found:
        beaten = any(dominates(other, one) for other in found)
        objectives = (one.accuracy, one.cost.latency_ms, one.cost.sram_bytes)
        inside = any((k.accuracy, k.cost.latency_ms, k.cost.sram_bytes) == objectives for k in kept)
        assert inside == (not beaten)
    assert list(kept) == sorted(kept, key=lambda e: e.cost.latency_ms)


def test_the_choice_gives_up_no_more_than_the_tolerance() -> None:
    found = [evaluated(0.90, 9.0, 9), evaluated(0.899, 5.0, 9), evaluated(0.88, 1.0, 1)]
    assert choose(found, 900, 0.2) is found[1]
    assert choose(found, 900, 0.0) is found[0]
    assert choose(found, 900, 3.0) is found[2]


def test_limits() -> None:
    cost = Cost(100, 200, 3.0)
    assert fits(cost, Constraints()) and fits(cost, Constraints(100, 200, 3.0))
    for tight in (Constraints(99), Constraints(None, 199), Constraints(None, None, 2.9)):
        assert not fits(cost, tight)
