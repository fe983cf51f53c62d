"""Vision transformers whose dense layers are products of three factors: the space of MCUFormer.

    image -> patches -> (+ class token) -> blocks of [norm, attention, + skip, norm, MLP, + skip] -> norm -> dense

Patch size, embedding, depth and the rank ratio are chosen once for a network, heads and the width of the MLP for every
block (Liang et al. 2023, "MCUFormer: Deploying Vision Transformers on Microcontrollers with Limited Memory"; blocks:
Chen et al. 2021, "AutoFormer").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import floor, prod
from typing import TypeVar

import numpy as np

from mcuc.errors import McucError
from mcuc.search.layers import Shape3

RANKS = tuple(round(0.40 + 0.05 * i, 2) for i in range(12))
POOLS = ("token", "mean")
POSITIONS = ("absolute", "relative")
ATTENTIONS = ("softmax", "linear")
MARKS = {"softmax": "", "linear": "l"}  # how a key says a block's attention
FLOOR = 0.5  # of the sum that linear attention divides by, for each token: see least_total
ONCE = ("image", "patch", "embed", "rank", "pool", "position")  # what is chosen once for a network, depth aside
T = TypeVar("T")
_BLOCK = r"-h(\d{1,2})x(\d{1,2}(?:\.\d{1,2})?)(l?)"
_KEY = re.compile(
    rf"i(\d{{1,4}})-p(\d{{1,3}})-e(\d{{1,4}})-d(\d{{1,3}})-k(0\.\d{{1,4}}|1)-(token|mean)-(absolute|relative)"
    rf"((?:{_BLOCK}){{1,64}})"
)


@dataclass(frozen=True)
class VitBlock:
    """heads: of its attention; ratio: width of the MLP over that of the embedding; attention: "softmax" or "linear"
    (see mcuc.search.vit.network.linear_attention)."""

    heads: int
    ratio: float
    attention: str = "softmax"


@dataclass(frozen=True)
class VitCandidate:
    """One network of the space. image, patch: pixels a side of the (square) input and of a patch; embed: channels of a
    token; rank: of every dense layer's middle, over embed. pool: what the last layer reads, the class token or the mean
    of all tokens. position: how tokens know where they are, by a vector each or by a bias of attention's scores."""

    image: int
    patch: int
    embed: int
    head_dim: int
    rank: float
    pool: str
    position: str
    blocks: tuple[VitBlock, ...]

    @property
    def key(self) -> str:
        """Stable text form, for example i32-p4-e64-d16-k0.7-token-absolute-h3x4-h4x3.5; parse() reads it back."""
        blocks = "".join(f"-h{b.heads}x{b.ratio:g}{MARKS[b.attention]}" for b in self.blocks)
        return (
            f"i{self.image}-p{self.patch}-e{self.embed}-d{self.head_dim}-k{self.rank:g}-{self.pool}-{self.position}"
            f"{blocks}"
        )

    @property
    def resolution(self) -> int:
        """Pixels a side of the input, as other spaces call it."""
        return self.image

    @property
    def inner(self) -> int:
        """k: channels between the factors of every dense layer, floor(rank * embed)."""
        return max(1, floor(self.rank * self.embed + 1e-9))

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return (self.image + 2 * padding(self.image, self.patch)) // self.patch

    @property
    def tokens(self) -> int:
        """Patches, and the class token."""
        return self.grid**2 + (self.pool == "token")


@dataclass(frozen=True)
class VitSpace:
    """All candidates for one kind of image; choices ascending. channels of the image: 1 or 3. Heads, ratios and
    attentions are chosen for every block, head_dim is the same in all networks, the others once for a network. pairs:
    (rank, patch) that candidates may have, every rank and patch in one of them; () for all."""

    images: tuple[int, ...]
    patches: tuple[int, ...]
    embeds: tuple[int, ...]
    head_dim: int
    ranks: tuple[float, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    ratios: tuple[float, ...]
    channels: int
    classes: int
    pools: tuple[str, ...] = POOLS[:1]
    positions: tuple[str, ...] = POSITIONS[:1]
    attentions: tuple[str, ...] = ATTENTIONS[:1]
    pairs: tuple[tuple[float, int], ...] = ()


def padding(image: int, patch: int) -> int:
    """Zeros on each side of the image, so that a last patch of which at least half is there counts: 6 for patches of
    28 of 240 pixels, 8 for 32. Less than half a patch is cut off."""
    rest = image % patch
    missing = (patch - rest) % patch
    return missing // 2 if 2 * rest >= patch and missing % 2 == 0 else 0


def tiny_space(channels: int, classes: int, image: int = 240) -> VitSpace:
    """MCUFormer's "T" space: supernet-T.yaml and supernet-T-new.yaml of its release."""
    return VitSpace((image,), (16, 20, 24, 28, 32), (168, 192, 216), 64, RANKS, (12, 13, 14), (3, 4), (3.5, 4.0),
                    channels, classes)  # fmt: skip


def space_for(image_shape: Shape3, classes: int, width: float = 1.0, image: int | None = None) -> VitSpace:
    """The space for images of (h, w, c), brought to squares of `image` pixels, or of at most 128.

    From 160 pixels on it is tiny_space; below, grids of 4 to 8 patches a side, and embeddings, depths and heads that
    fit images of that size. width scales embeddings. Raises McucError("bad-image-size") outside 8 to 512 pixels.
    """
    side = min(128, max(image_shape[:2])) // 4 * 4 if image is None else image
    if not 8 <= side <= 512:
        raise McucError("bad-image-size", f"images of {side} pixels a side", "--image-size",
                        try_this="between 8 and 512, best a multiple of 4")  # fmt: skip
    channels = image_shape[2]
    if side >= 160:
        whole = tiny_space(channels, classes, side)
        return replace(whole, embeds=_scaled(whole.embeds, width))
    grids = (8, 7, 6, 5, 4)
    patches = sorted({side // g for g in grids if side % g == 0} or {max(1, side // g) for g in (8, 4)})
    if side <= 48:
        return VitSpace((side,), tuple(patches), _scaled((48, 64, 80, 96), width), 16, RANKS, (4, 5, 6, 7, 8),
                        (2, 3, 4), (2.0, 3.0, 4.0), channels, classes)  # fmt: skip
    return VitSpace((side,), tuple(patches), _scaled((64, 96, 128), width), 32, RANKS, (6, 7, 8, 9, 10), (2, 3, 4),
                    (3.0, 3.5, 4.0), channels, classes)  # fmt: skip


def _scaled(widths: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """Multiples of eight: the int8 kernels read four channels at a time, and the MLP's ratios are halves."""
    return tuple(sorted({max(8, round(w * factor / 8) * 8) for w in widths}))


def hidden(candidate: VitCandidate, block: VitBlock) -> int:
    """Channels inside the block's MLP."""
    return int(candidate.embed * block.ratio)


def dense_shapes(candidate: VitCandidate, block: VitBlock) -> dict[str, tuple[int, int]]:
    """The dense layers of a block in order -> channels in and out."""
    embed, inside, wide = candidate.embed, block.heads * candidate.head_dim, hidden(candidate, block)
    return {"qkv": (embed, 3 * inside), "proj": (inside, embed), "fc1": (embed, wide), "fc2": (wide, embed)}


def least_total(candidate: VitCandidate) -> float:
    """What linear attention divides by at least. L2ViT clamps the sum of a query's weights at 100, whatever the number
    of tokens, so that a query that hardly matches any key does not blow up what it gets; here the clamp grows with the
    tokens whose features are summed."""
    return FLOOR * candidate.tokens


def factors(ins: int, outs: int, k: int) -> int:
    """Of how many factors a dense layer is cheapest, 2 or 1: b always goes into a or c; the product of all, [out, in],
    where it has no more elements than two. Elements are bytes of weights and, times the tokens, MACs."""
    return 1 if ins * outs <= k * (ins + outs) else 2


def parse(key: str) -> VitCandidate:
    """VitCandidate.key read back. Raises McucError("bad-candidate")."""
    found = _KEY.fullmatch(key)
    candidate = None
    if found is not None:
        image, patch, embed, head_dim = (int(found[i]) for i in range(1, 5))
        blocks = tuple(VitBlock(int(h), float(r), "linear" if mark else "softmax")
                       for h, r, mark in re.findall(_BLOCK, found[8]))  # fmt: skip
        candidate = VitCandidate(image, patch, embed, head_dim, float(found[5]), found[6], found[7], blocks)
        sizes = (patch, embed, head_dim, *(b.heads for b in blocks), *(b.ratio for b in blocks))
        if min(sizes) <= 0 or patch > image or candidate.rank <= 0 or candidate.key != key:
            candidate = None
    if candidate is None:
        raise McucError(
            "bad-candidate",
            f"{key!r} is not a candidate",
            where="a candidate's key",
            try_this="for example i32-p4-e64-d16-k0.7-token-absolute-h3x4-h4x3.5",
        )
    return candidate


def pairs_of(space: VitSpace) -> tuple[tuple[float, int], ...]:
    """(rank ratio, patch size) that candidates may have."""
    return space.pairs or tuple(product(space.ranks, space.patches))


def ranks_for(space: VitSpace, patch: int) -> tuple[float, ...]:
    """The rank ratios of candidates with patches of this size, ascending."""
    return tuple(rank for rank in space.ranks if (rank, patch) in pairs_of(space))


def largest(space: VitSpace) -> VitCandidate:
    """The candidate with the most of everything, tokens included: the one of the smallest patches, with the highest
    rank ratio that they may have."""
    block, patch = VitBlock(space.heads[-1], space.ratios[-1], space.attentions[0]), space.patches[0]
    return VitCandidate(space.images[-1], patch, space.embeds[-1], space.head_dim, ranks_for(space, patch)[-1],
                        space.pools[0], space.positions[0], (block,) * space.depths[-1])  # fmt: skip


def smallest(space: VitSpace) -> VitCandidate:
    """The candidate with the least of everything, tokens included: the one of the largest patches, with the lowest rank
    ratio that they may have."""
    block, patch = VitBlock(space.heads[0], space.ratios[0], space.attentions[0]), space.patches[-1]
    return VitCandidate(space.images[0], patch, space.embeds[0], space.head_dim, ranks_for(space, patch)[0],
                        space.pools[0], space.positions[0], (block,) * space.depths[0])  # fmt: skip


def size(space: VitSpace) -> int:
    """How many candidates there are."""
    blocks = len(space.heads) * len(space.ratios) * len(space.attentions)
    once: tuple[Sequence[object], ...] = space.images, space.embeds, space.pools, space.positions, pairs_of(space)
    return int(prod(map(len, once)) * sum(blocks**d for d in space.depths))


def contains(space: VitSpace, candidate: VitCandidate) -> bool:
    """Whether the candidate is one of the space's."""
    c = candidate
    return (
        c.image in space.images
        and c.patch in space.patches
        and c.embed in space.embeds
        and c.head_dim == space.head_dim
        and c.rank in space.ranks
        and (c.rank, c.patch) in pairs_of(space)
        and c.pool in space.pools
        and c.position in space.positions
        and len(c.blocks) in space.depths
        and all(
            b.heads in space.heads and b.ratio in space.ratios and b.attention in space.attentions for b in c.blocks
        )
    )


def sample(space: VitSpace, rng: np.random.Generator) -> VitCandidate:
    """Uniform over each choice, over pairs of rank and patch where not all are left."""
    blocks = tuple(_block(space, rng) for _ in range(one_of(space.depths, rng)))
    image, patch, embed = (one_of(choices, rng) for choices in (space.images, space.patches, space.embeds))
    rank, pool, position = one_of(space.ranks, rng), one_of(space.pools, rng), one_of(space.positions, rng)
    if space.pairs:
        rank, patch = one_of(space.pairs, rng)
    return VitCandidate(image, patch, embed, space.head_dim, rank, pool, position, blocks)


def mutate(space: VitSpace, parent: VitCandidate, rng: np.random.Generator, rate: float = 0.25) -> VitCandidate:
    """Each choice is drawn anew with probability rate; heads and ratios block by block."""
    fresh = sample(space, rng)
    once = {n: getattr(fresh, n) for n in ONCE if rng.random() < rate}
    depth = len(fresh.blocks if rng.random() < rate else parent.blocks)
    blocks = [*parent.blocks[:depth], *(_block(space, rng) for _ in range(depth - len(parent.blocks)))]
    for i, old in enumerate(blocks):
        new, draws = _block(space, rng), rng.random(3) < rate
        blocks[i] = VitBlock(
            new.heads if draws[0] else old.heads,
            new.ratio if draws[1] else old.ratio,
            new.attention if draws[2] else old.attention,
        )
    return _paired(space, replace(parent, blocks=tuple(blocks), **once), fresh)


def cross(space: VitSpace, first: VitCandidate, second: VitCandidate, rng: np.random.Generator) -> VitCandidate:
    """Each choice from either parent; where one is deeper, its last blocks are its own."""
    once = {n: getattr(second, n) for n in ONCE if rng.random() < 0.5}
    deep = (first if rng.random() < 0.5 else second).blocks
    pairs = zip(first.blocks, second.blocks, strict=False)
    blocks = [a if rng.random() < 0.5 else b for a, b in pairs][: len(deep)]
    return _paired(space, replace(first, blocks=(*blocks, *deep[len(blocks) :]), **once), second)


def _paired(space: VitSpace, made: VitCandidate, other: VitCandidate) -> VitCandidate:
    """made, with rank and patch of another candidate of the space where its own are no pair of it."""
    fine = (made.rank, made.patch) in pairs_of(space)
    return made if fine else replace(made, rank=other.rank, patch=other.patch)


def _block(space: VitSpace, rng: np.random.Generator) -> VitBlock:
    return VitBlock(one_of(space.heads, rng), one_of(space.ratios, rng), one_of(space.attentions, rng))


def one_of(choices: Sequence[T], rng: np.random.Generator) -> T:
    """A uniform draw."""
    return choices[int(rng.integers(len(choices)))]
