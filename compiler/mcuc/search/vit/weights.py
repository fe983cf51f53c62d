"""The supernet's weights and how a candidate takes its own from them (weight entanglement, Chen et al. 2021,
"AutoFormer"): the first channels, the first heads, the first rows and columns of the factors, the first blocks.

Patches of different sizes have filters of their own ("patch.SIZE"), and so have the positions of different grids
("absolute.GRID", "relative.GRID"). Patch filters are kept as they see normalised pixels, (x - MEAN) / DEVIATION, which
train faster; a network takes them as they see x in 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import torch
from torch.func import functional_call

from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, dense_shapes, largest
from mcuc.search.vit.network import Vit, distances

Weights = Mapping[str, torch.Tensor]
MEAN, DEVIATION = 0.5, 0.25  # of pixels in 0..1


def init(candidate: VitCandidate, classes: int, channels: int, seed: int) -> dict[str, torch.Tensor]:
    """Weights of one network to train (see to_pixels), by name, from the seed alone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return {k: v.detach() for k, v in Vit(candidate, classes, channels).named_parameters()}


def init_supernet(space: VitSpace, seed: int) -> dict[str, torch.Tensor]:
    """The weights that all candidates share: a block with linear attention has all that one with softmax has."""
    whole = replace(largest(space), rank=space.ranks[-1])  # of whichever patches
    if "linear" in space.attentions:
        whole = replace(whole, blocks=tuple(replace(b, attention="linear") for b in whole.blocks))
    shared = init(whole, space.classes, space.channels, seed)
    for name in ("patch.weight", "patch.bias", "position"):
        del shared[name]
    for image in space.images:
        for patch in space.patches:
            for position in space.positions:
                one = replace(whole, image=image, patch=patch, position=position, pool="token")
                made = init(replace(one, blocks=one.blocks[:1]), space.classes, space.channels, seed)
                for part in ("weight", "bias"):
                    shared.setdefault(f"patch.{patch}.{part}", made[f"patch.{part}"])
                shared.setdefault(f"{position}.{one.grid}", made["position"])
                if "token" in space.pools:
                    shared.setdefault("token", made["token"])
    return shared


def view(shared: Weights, space: VitSpace, candidate: VitCandidate) -> dict[str, torch.Tensor]:
    """The candidate's weights, named as in Vit but to train (see to_pixels). Gradients flow back to the supernet."""
    c, embed, k = candidate, candidate.embed, candidate.inner
    found = {
        "patch.weight": shared[f"patch.{c.patch}.weight"][:embed],
        "patch.bias": shared[f"patch.{c.patch}.bias"][:embed],
        "norm.weight": shared["norm.weight"][:embed],
        "norm.bias": shared["norm.bias"][:embed],
        "head.weight": shared["head.weight"][:, :embed],
        "head.bias": shared["head.bias"],
    }
    if c.pool == "token":
        found["token"] = shared["token"][..., :embed]
    position = shared[f"{c.position}.{c.grid}"]
    if c.position == "absolute":
        found["position"] = position[:, position.shape[1] - c.tokens :, :embed]
    else:
        found["position"] = position[: max(b.heads for b in c.blocks)]
    for i, block in enumerate(c.blocks):
        inside = block.heads * c.head_dim
        for layer, (ins, outs) in dense_shapes(c, block).items():
            name = f"blocks.{i}.{layer}"
            whole, bias = shared[f"{name}.c"], shared[f"{name}.bias"]
            found[f"{name}.a"], found[f"{name}.b"] = shared[f"{name}.a"][:k, :ins], shared[f"{name}.b"][:k, :k]
            if layer == "qkv":  # queries, keys and values, each with its heads
                whole = whole.reshape(3, -1, whole.shape[1])[:, :inside].reshape(outs, whole.shape[1])
                bias = bias.reshape(3, -1)[:, :inside].reshape(outs)
            found[f"{name}.c"], found[f"{name}.bias"] = whole[:outs, :k], bias[:outs]
        for norm in ("norm1", "norm2"):
            for part in ("weight", "bias"):
                name = f"blocks.{i}.{norm}.{part}"
                found[name] = shared[name][:embed]
        if block.attention == "linear":
            for part in ("weight", "bias"):
                name = f"blocks.{i}.local.{part}"
                found[name] = shared[name][:inside]
    return found


def to_pixels(weights: Weights) -> dict[str, torch.Tensor]:
    """From weights to train to those of a network that reads pixels in 0..1: w (x - m) / d + b = (w / d) x +
    (b - m / d sum w). Where patches are padded, what the network reads there is 0, black."""
    w = weights["patch.weight"] / DEVIATION
    return {**weights, "patch.weight": w, "patch.bias": weights["patch.bias"] - MEAN * w.sum((1, 2, 3))}


def from_pixels(weights: Weights) -> dict[str, torch.Tensor]:
    """The reverse of to_pixels."""
    w = weights["patch.weight"]
    return {**weights, "patch.weight": w * DEVIATION, "patch.bias": weights["patch.bias"] + MEAN * w.sum((1, 2, 3))}


def answers(weights: Weights, candidate: VitCandidate, x: torch.Tensor) -> torch.Tensor:
    """Logits [n, classes] of the candidate with these weights (see view) on x float [n, c, image, image] in 0..1."""
    bias = weights["head.bias"]
    net = _empty(candidate, len(bias), weights["patch.weight"].shape[1], str(x.device))
    return torch.as_tensor(functional_call(net, to_pixels(weights), (x,), strict=False))


def network(weights: Weights, candidate: VitCandidate) -> Vit:
    """A network of its own with these weights (see view), copied."""
    made = Vit(candidate, len(weights["head.bias"]), weights["patch.weight"].shape[1])
    with torch.no_grad():
        found = to_pixels(weights)
        for name, value in made.named_parameters():
            value.copy_(found[name])
    return made.eval()


@lru_cache(maxsize=256)
def _empty(candidate: VitCandidate, classes: int, channels: int, device: str) -> Vit:
    """The candidate's forward pass; its weights have shapes and no memory."""
    with torch.device("meta"):
        net = Vit(candidate, classes, channels)
    if candidate.position == "relative":
        net.distances = distances(candidate.grid, candidate.pool == "token").to(device)
    return net
