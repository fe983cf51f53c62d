"""A transformer of the space in torch, and its dense layers' factors merged for the firmware."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from mcuc.search.spaces.vit_lowrank import (
    VitBlock,
    VitCandidate,
    dense_shapes,
    factors,
    least_total,
    padding,
)

EPSILON = 1e-6
# At the start. DeiT's 0.02 everywhere (Touvron et al. 2021) is for embeddings of 192 and more and hundreds of epochs;
# with 48 channels and few epochs these learn faster.
GAIN = 0.5  # deviation of a dense layer's product, over in**-0.5
PLACES = 0.2  # deviation of positions and of the class token
LAST = 0.02  # deviation of the last layer


class LowRank(nn.Module):
    """y = c b a x + bias: a [k, in], b [k, k], c [out, k]. The product starts with a deviation of GAIN in**-0.5, b as
    identity, so that any first rows and columns of a larger layer start like a layer of their own."""

    def __init__(self, ins: int, outs: int, k: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(k, ins) * ins**-0.5)
        self.b = nn.Parameter(torch.eye(k))
        self.c = nn.Parameter(torch.randn(outs, k) * (GAIN * k**-0.5))
        self.bias = nn.Parameter(torch.zeros(outs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiplies the factors together first, as merged() does: a batch has more tokens than they have rows."""
        inner = self.b @ self.a
        if factors(self.a.shape[1], len(self.c), len(self.a)) == 1:
            return F.linear(x, self.c @ inner, self.bias)
        return F.linear(F.linear(x, inner), self.c, self.bias)


class Block(nn.Module):
    """Norm, attention, skip, norm, MLP, skip: [n, tokens, embed] -> the same."""

    def __init__(self, candidate: VitCandidate, block: VitBlock) -> None:
        super().__init__()
        embed = candidate.embed
        self.heads, self.head_dim = block.heads, candidate.head_dim
        self.scale = candidate.head_dim**-0.5  # of the queries; 1 once merged
        shapes = dense_shapes(candidate, block)
        self.norm1, self.norm2 = nn.LayerNorm(embed, eps=EPSILON), nn.LayerNorm(embed, eps=EPSILON)
        self.qkv, self.proj, self.fc1, self.fc2 = (LowRank(*shapes[n], candidate.inner) for n in shapes)
        self.least, self.grid, self.local = least_total(candidate), candidate.grid, None
        if block.attention == "linear":
            inside = block.heads * candidate.head_dim
            self.local = nn.Conv2d(inside, inside, 3, padding=1, groups=inside)
            nn.init.zeros_(self.local.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """bias: of the scores, [heads, tokens, tokens], where positions are relative; linear attention has none."""
        batch, tokens, _ = x.shape
        t = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, self.head_dim)
        q, k, v = t.permute(2, 0, 3, 1, 4).unbind(0)
        if self.local is not None:
            attended = linear_attention(q, k, v, self.least)
        else:
            scores = (q if self.scale == 1 else q * self.scale) @ k.transpose(-2, -1)
            attended = (scores if bias is None else scores + bias).softmax(-1) @ v
        attended = attended.transpose(1, 2).reshape(batch, tokens, self.heads * self.head_dim)
        if self.local is not None:
            attended = attended + self._near(t[:, :, 2].reshape(attended.shape))
        x = x + self.proj(attended)
        deeper: torch.Tensor = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return x + deeper

    def _near(self, v: torch.Tensor) -> torch.Tensor:
        """Each value's neighbours in the grid of patches, [n, tokens, inside]; nothing for a class token."""
        assert self.local is not None
        first = v.shape[1] - self.grid**2
        image = v[:, first:].transpose(1, 2).reshape(len(v), -1, self.grid, self.grid)
        near: torch.Tensor = self.local(image).flatten(2).transpose(1, 2)
        return F.pad(near, (0, 0, first, 0)) if first else near


def linear_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, least: float) -> torch.Tensor:
    """relu(q) (relu(k)^T v) / max(relu(q) sum of relu(k), least): q, k, v [n, heads, tokens, depth] -> the same.

    The linear attention of Zheng 2025, "The Linear Attention Resurrection in Vision Transformer" (L2ViT), with its
    clamped divisor. Its temperature, a factor of the result, can be in the weights behind. What stands for its local
    concentration module is one convolution of 3 x 3, of the values and not of the block's result (Block._near).
    """
    q, k = q.relu(), k.relu()
    total = q @ k.sum(-2, keepdim=True).transpose(-2, -1)
    return (q @ (k.transpose(-2, -1) @ v)) / total.clamp(min=least)


class Vit(nn.Module):
    """x float [n, channels, image, image] in 0..1 -> logits [n, classes].

    position: a vector for each token, [1, tokens, embed], or, where it is relative, a bias of the scores for each head
    and each distance of two patches, [heads, (2 grid - 1)^2 + 3], shared by all blocks (the last three: class token to
    patch, patch to class token, class token to itself; Raffel et al. 2020, Bao et al. 2022).
    """

    distances: torch.Tensor

    def __init__(self, candidate: VitCandidate, classes: int, channels: int) -> None:
        super().__init__()
        c = candidate
        self.candidate = c
        self.patch = nn.Conv2d(channels, c.embed, c.patch, c.patch, padding=padding(c.image, c.patch))
        self.token = nn.Parameter(PLACES * torch.randn(1, 1, c.embed)) if c.pool == "token" else None
        if c.position == "absolute":
            self.position = nn.Parameter(PLACES * torch.randn(1, c.tokens, c.embed))
        else:
            most = max(b.heads for b in c.blocks)
            self.position = nn.Parameter(PLACES * torch.randn(most, (2 * c.grid - 1) ** 2 + 3))
            self.register_buffer("distances", distances(c.grid, c.pool == "token"), persistent=False)
        self.blocks = nn.ModuleList(Block(c, b) for b in c.blocks)
        self.norm, self.head = nn.LayerNorm(c.embed, eps=EPSILON), nn.Linear(c.embed, classes)
        nn.init.normal_(self.head.weight, std=LAST)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        bias = None
        if self.candidate.position == "absolute":
            x = x + self.position
        else:
            bias = self.position[:, self.distances]
        for block in self.blocks:
            x = block(x, None if bias is None else bias[: block.heads])
        x = self.norm(x)
        logits: torch.Tensor = self.head(x.mean(1) if self.token is None else x[:, 0])
        return logits


def distances(grid: int, token: bool) -> torch.Tensor:
    """Which of the (2 grid - 1)^2 distances (and 3 for the class token) two tokens have, int64 [tokens, tokens]."""
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    y, x = y.flatten(), x.flatten()
    reach = 2 * grid - 1
    found = (y[:, None] - y[None] + grid - 1) * reach + (x[:, None] - x[None] + grid - 1)
    if not token:
        return found
    whole = torch.full((grid**2 + 1, grid**2 + 1), reach**2)
    whole[1:, 0], whole[0, 0], whole[1:, 1:] = reach**2 + 1, reach**2 + 2, found
    return whole


@dataclass(frozen=True)
class Merging:
    """What merging does to a network. forms: how many dense layers are left with 3, 2 and 1 factor. weights, macs:
    bytes (a weight of int8 each) and multiply-accumulates of these layers with three factors and merged."""

    forms: tuple[int, int, int]
    weights_before: int
    weights: int
    macs_before: int
    macs: int


def merging(module: Vit, keep_factors: bool = False) -> Merging:
    """What merged() does to the module."""
    before = after = 0
    forms = [0, 0, 0]
    for _, _, layer in _layers(module):
        k, ins, outs = *layer.a.shape, len(layer.c)
        three = k * (ins + k + outs)
        count = 3 if keep_factors else factors(ins, outs, k)
        before += three
        after += {3: three, 2: k * (ins + outs), 1: ins * outs}[count]
        forms[3 - count] += 1
    tokens = module.candidate.tokens
    return Merging((forms[0], forms[1], forms[2]), before, after, before * tokens, after * tokens)


def merged(module: Vit, keep_factors: bool = False) -> Vit:
    """A copy that computes the same with dense layers of one or two factors, whichever is cheaper, or of three
    (keep_factors), and with the queries' scale in their layer's weights."""
    made = copy.deepcopy(module)
    with torch.no_grad():
        for block in made.blocks:
            assert isinstance(block, Block) and isinstance(block.qkv, LowRank)
            queries = 0 if block.local is not None else block.heads * block.head_dim
            block.qkv.c[:queries] *= block.scale
            block.qkv.bias[:queries] *= block.scale
            block.scale = 1.0
        for block, name, layer in list(_layers(made)):
            count = 3 if keep_factors else factors(layer.a.shape[1], len(layer.c), len(layer.a))
            setattr(block, name, _dense(layer, count))
    return made


def _layers(module: Vit) -> Iterator[tuple[Block, str, LowRank]]:
    for block in module.blocks:
        assert isinstance(block, Block)
        for name in ("qkv", "proj", "fc1", "fc2"):
            layer = getattr(block, name)
            if isinstance(layer, LowRank):
                yield block, name, layer


def _dense(layer: LowRank, count: int) -> nn.Module:
    """The layer as one to three dense layers of which the last has the bias; products in double precision."""
    a, b, c = (w.double() for w in (layer.a, layer.b, layer.c))
    if count == 1:
        weights = [c @ b @ a]
    elif count == 2:
        weights = [b @ a, c] if a.shape[1] <= len(c) else [a, c @ b]
    else:
        weights = [a, b, c]
    made: list[nn.Module] = []
    for i, w in enumerate(weights):
        last = i == len(weights) - 1
        dense = nn.Linear(w.shape[1], len(w), bias=last)
        dense.weight.copy_(w)
        if last:
            dense.bias.copy_(layer.bias)
        made.append(dense)
    return made[0] if count == 1 else nn.Sequential(*made)
