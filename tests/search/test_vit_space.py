"""The space of transformers with low-rank layers, and its network in torch."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from made_up import moved

torch = pytest.importorskip("torch", reason="the search needs torch")

from mcuc.errors import McucError  # noqa: E402
from mcuc.search.spaces import vit_lowrank as vit  # noqa: E402
from mcuc.search.vit.network import Block, distances, linear_attention, merged, merging  # noqa: E402

SPACES = {
    "28 pixels": vit.space_for((28, 28, 1), 10),
    "96 pixels": vit.space_for((96, 128, 3), 2, width=1.5),
    "every choice": replace(vit.space_for((32, 32, 3), 10), pools=vit.POOLS, positions=vit.POSITIONS,
                            attentions=vit.ATTENTIONS),
    "T": vit.tiny_space(3, 1000),
    "some pairs": replace(vit.tiny_space(3, 10), pairs=tuple((r, p) for r in vit.RANKS for p in (16, 20, 24, 28, 32)
                                                             if r <= p / 32)),
}  # fmt: skip


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_draws_changes_and_crossings_stay_in_the_space_and_their_keys_read_back(space: vit.VitSpace) -> None:
    rng = np.random.default_rng(0)
    found = [vit.smallest(space), vit.largest(space), *(vit.sample(space, rng) for _ in range(20))]
    found += [vit.mutate(space, c, rng) for c in found] + [vit.cross(space, c, found[-1], rng) for c in found]
    assert all(vit.contains(space, c) and vit.parse(c.key) == c for c in found)
    assert len({c.key for c in found}) > 40


def test_the_size_of_a_space_is_what_enumeration_counts() -> None:
    space = replace(SPACES["every choice"], depths=(1, 2), ranks=(0.5,), embeds=(48,))
    blocks = [vit.VitBlock(*c) for c in product(space.heads, space.ratios, space.attentions)]
    keys = {
        vit.VitCandidate(32, p, 48, 16, 0.5, pool, position, b).key
        for p, pool, position in product(space.patches, space.pools, space.positions)
        for d in space.depths
        for b in product(blocks, repeat=d)
    }
    assert vit.size(space) == len(keys)
    less = replace(space, ranks=(0.4, 0.5), pairs=((0.4, space.patches[0]), (0.5, space.patches[0])))
    assert vit.size(less) == 2 * len(keys) // len(space.patches)


@pytest.mark.parametrize(("patch", "pad", "grid"), [(16, 0, 15), (20, 0, 12), (24, 0, 10), (28, 6, 9), (32, 8, 8)])
def test_patches_of_240_pixels_are_padded_as_mcuformer_pads_them(patch: int, pad: int, grid: int) -> None:
    candidate = replace(vit.largest(SPACES["T"]), patch=patch)
    assert (vit.padding(240, patch), candidate.grid, candidate.tokens) == (pad, grid, grid**2 + 1)


@pytest.mark.parametrize("key", ["", "r28-s16-w32k3", "i32-p4-e64-d16-k0.7-token-absolute",
                                 "i32-p64-e64-d16-k0.7-token-absolute-h3x4", "i32-p0-e64-d16-k0.7-mean-absolute-h3x4",
                                 "i32-p4-e64-d16-k0.70-token-absolute-h3x4"])  # fmt: skip
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(McucError) as refused:
        vit.parse(key)
    assert refused.value.code == "bad-candidate"


def test_image_sizes_out_of_reach_are_refused() -> None:
    with pytest.raises(McucError, match="4 pixels"):
        vit.space_for((28, 28, 1), 10, image=4)


def test_linear_attention_is_a_weighted_mean_of_the_values_where_a_query_matches_enough() -> None:
    """In NumPy, with the matrix of all pairs that the network never makes."""
    q, k, v = (torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(s)) for s in range(3))
    q[0, 0, 0] = -1  # matches nothing
    pairs = np.maximum(q.numpy(), 0) @ np.maximum(k.numpy(), 0).swapaxes(-1, -2)
    total = pairs.sum(-1, keepdims=True)
    least = float(np.median(total))
    wanted = pairs / np.maximum(total, least) @ v.numpy()
    np.testing.assert_allclose(linear_attention(q, k, v, least).numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert not wanted[0, 0, 0].any() and np.abs(wanted).max() < np.abs(v.numpy()).max()


def test_a_class_token_has_no_neighbours() -> None:
    block, v = moved(vit.parse("i12-p4-e16-d8-k0.5-token-absolute-h2x4l")).blocks[0], torch.rand(2, 10, 16)
    assert isinstance(block, Block)
    near = block._near(v)
    assert near.shape == v.shape and not near[:, 0].any()
    image = v[:, 1:].transpose(1, 2).reshape(2, 16, 3, 3)
    assert torch.equal(near[:, 1:], block.local(image).flatten(2).transpose(1, 2))


@pytest.mark.parametrize(("pool", "position"), list(product(vit.POOLS, vit.POSITIONS)))
@pytest.mark.parametrize("keep", [False, True])
def test_a_merged_network_answers_as_before(pool: str, position: str, keep: bool) -> None:
    candidate = replace(vit.parse("i12-p4-e16-d8-k0.5-token-absolute-h2x4-h1x2l"), pool=pool, position=position)
    module, x = moved(candidate), torch.rand(3, 1, 12, 12)
    small = merged(module, keep)
    torch.testing.assert_close(small(x), module(x), rtol=1e-4, atol=1e-4)
    assert all(isinstance(b, Block) and b.scale == 1 for b in small.blocks)


@pytest.mark.parametrize(("rank", "forms"), [(0.95, (0, 0, 4)), (0.75, (0, 2, 2)), (0.4, (0, 4, 0))])
def test_merging_takes_the_cheapest_form_of_each_layer_and_counts_what_the_modules_hold(
    rank: float, forms: tuple[int, int, int]
) -> None:
    module = moved(replace(vit.parse("i12-p4-e16-d16-k0.5-token-absolute-h1x4"), rank=rank))
    found = merging(module)
    weights = [p.numel() for p in merged(module).blocks.parameters() if p.ndim == 2]
    factors = [p.numel() for p in module.blocks.parameters() if p.ndim == 2]
    assert found.forms == forms and found.weights == sum(weights) < found.weights_before == sum(factors)
    assert (found.macs, found.macs_before) == (10 * sum(weights), 10 * sum(factors))
    kept = merging(module, keep_factors=True)
    assert kept.forms == (4, 0, 0) and kept.weights == kept.weights_before == found.weights_before


def test_a_relative_position_depends_on_the_distance_alone() -> None:
    d = distances(3, True)
    assert d.shape == (10, 10) and len(d.unique()) == 5 * 5 + 3
    assert d[1, 2] == d[5, 6] == d[8, 9] and d[1, 4] == d[6, 9] and d[1, 2] != d[2, 1]
    assert torch.equal(distances(3, False), d[1:, 1:])
