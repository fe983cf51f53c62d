"""The space itself, before any training: rank ratios, patch sizes and embeddings of which no candidate fits are left
out (MCUFormer evolves rank ratio and patch size by the share of candidates that fit its formula: legal_shares).

What fits is monotone in nearly all choices, so that the leanest candidate with a given choice decides about it: one
plan for each choice and pair, not one for each candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, sample, smallest
from mcuc.search.vit.cost import VitCost, within

CHOICES = {"embeds": "embed", "patches": "patch", "ranks": "rank"}  # of the space -> of a candidate


def narrow(space: VitSpace, cost: VitCost) -> VitSpace:
    """The space without values whose leanest candidate does not fit the limits' SRAM and flash (latency is not looked
    at). A space of which nothing fits is left as it is: the search says what the smallest takes."""
    found: dict[str, Any] = {}
    for choice, field in CHOICES.items():
        fitting = tuple(v for v in getattr(space, choice) if leanest_fits(space, {field: v}, cost))
        if not fitting:
            return space
        found[choice] = fitting
    return replace(space, **found)


def leanest_fits(space: VitSpace, given: Mapping[str, Any], cost: VitCost) -> bool:
    """Whether some patch size, pool and attention let the smallest candidate with these choices fit. Larger patches
    mean fewer tokens, but more weights of the patches: where the largest does not fit, another may."""
    patches: tuple[int, ...] = (given["patch"],) if "patch" in given else space.patches[::-1]
    return any(
        within(cost.planned(replace(smallest(one), **{**given, "patch": patch, "pool": pool})), cost.limits)
        for patch in patches
        for pool in space.pools
        for one in (replace(space, attentions=(attention,)) for attention in space.attentions)
    )  # fmt: skip


def legal_shares(
    space: VitSpace, fit: Callable[[VitCandidate], bool], count: int, seed: int = 0
) -> dict[tuple[float, int], float]:
    """(rank ratio, patch size) -> the share of `count` random candidates with both that fit."""
    found = {}
    for rank in space.ranks:
        for patch in space.patches:
            one = replace(space, ranks=(rank,), patches=(patch,))
            rng = np.random.default_rng((seed, round(100 * rank), patch))
            found[rank, patch] = sum(fit(sample(one, rng)) for _ in range(count)) / count
    return found
