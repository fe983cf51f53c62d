"""The space itself, before any training: what of it is worth a supernet under the limits.

MCUFormer evolves rank ratio and patch size by the share of random candidates that its formula calls legal, and by the
accuracy of a supernet trained for each pair (lib/multi_supernet.py of its release). Here the share is that of the
planner, and of the latency model where a latency is asked for; the pairs of which too few candidates fit are left out.
The accuracy of a pair would take a training for each and is left to the search that follows.

What fits is monotone in nearly all choices: so a pair whose largest candidate fits is legal as a whole, one whose
leanest does not is not at all, and along the rank ratios of a patch size both borders are found by bisection. Between
them candidates are drawn, at those ranks that a bisection asks for that looks where the share falls below LEGAL; the
shares of the others are interpolated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product

import msgspec
import numpy as np

from mcuc import cache
from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, largest, sample, size, smallest
from mcuc.search.train import Progress
from mcuc.search.vit.cost import VitCost

Pair = tuple[float, int]  # rank ratio, patch size
LEGAL = 0.25  # share of a pair's candidates that must fit
FEWEST = 6  # pairs that stay, the ones with the largest shares, where fewer are that legal
DRAWS = 12  # candidates of a pair that are drawn; the share's standard error is at most 0.15
STAGE = "counting what fits"


@dataclass(frozen=True)
class Narrowed:
    """space: what is left. shares: of each pair of the space as it was, the share of candidates that fit; a pair whose
    leanest candidate does not fit has 0. note: all of it for the report; "" where everything stays."""

    space: VitSpace
    shares: Mapping[Pair, float]
    note: str = ""


def narrow(space: VitSpace, cost: VitCost, seed: int, progress: Progress, key: str = "") -> Narrowed:
    """The space without embeddings whose leanest candidate does not fit, and without pairs of rank ratio and patch size
    of which less than LEGAL of the candidates do; FEWEST stay if so many fit at all. A space of which nothing fits is
    left as it is: the search says what the smallest takes. key: everything else that decides what fits, under which the
    shares are remembered; "" to count them anew."""
    name = hashlib.sha256(f"{key} {space} {cost.limits} {seed} {LEGAL} {DRAWS}".encode()).hexdigest()[:32]
    known = _restored(cache.read_json("shares", name), space) if key else None
    embeds, shares = known or _counted(space, cost, seed, progress)
    if key and known is None:
        cache.write_json("shares", name, [embeds, [[*pair, share] for pair, share in shares.items()]])
    kept = worthwhile(shares)
    if not kept:
        return Narrowed(space, shares)
    ranks = tuple(r for r in space.ranks if any(rank == r for rank, _ in kept))
    patches = tuple(p for p in space.patches if any(patch == p for _, patch in kept))
    pairs = kept if set(kept) != set(product(ranks, patches)) else ()
    left = replace(space, embeds=embeds, ranks=ranks, patches=patches, pairs=pairs)
    return Narrowed(left, shares, "" if left == space else _note(space, left, shares, kept))


def _counted(
    space: VitSpace, cost: VitCost, seed: int, progress: Progress
) -> tuple[tuple[int, ...], dict[Pair, float]]:
    """The embeddings that fit, and legal_shares of the space with these; nothing where none does."""
    embeds = tuple(e for e in space.embeds if any(cost.legal(c) for c in _leanest(replace(space, embeds=(e,)))))
    return embeds, legal_shares(replace(space, embeds=embeds), cost, seed, progress) if embeds else {}


def _restored(kept: object, space: VitSpace) -> tuple[tuple[int, ...], dict[Pair, float]] | None:
    """What narrow has kept; None where it is something else."""
    try:
        embeds, rows = msgspec.convert(kept, tuple[tuple[int, ...], tuple[tuple[float, int, float], ...]])
    except msgspec.ValidationError:
        return None
    shares = {(rank, patch): share for rank, patch, share in rows}
    whole = set(shares) == (set(product(space.ranks, space.patches)) if embeds else set())
    return (embeds, shares) if whole and set(embeds) <= set(space.embeds) else None


def worthwhile(shares: Mapping[Pair, float]) -> tuple[Pair, ...]:
    """The pairs that stay, in order: those of LEGAL and more, and the next best up to FEWEST, if anything of them
    fits."""
    ranked = sorted((pair for pair in shares if shares[pair] > 0), key=lambda pair: (-shares[pair], pair))
    return tuple(sorted(pair for i, pair in enumerate(ranked) if i < FEWEST or shares[pair] >= LEGAL))


def legal_shares(space: VitSpace, cost: VitCost, seed: int, progress: Progress) -> dict[Pair, float]:
    """(rank ratio, patch size) -> the share of candidates with both that fit the limits.

    Of a pair that is drawn from, the leanest candidate, which fits, and the largest, which does not, count as two more.
    Every pair is planned with pieces of its own, so that memory does not grow with what is left out.
    """
    found: dict[Pair, float] = {}
    for done, patch in enumerate(space.patches):
        progress(STAGE, done, len(space.patches))
        pairs = [replace(space, ranks=(rank,), patches=(patch,)) for rank in space.ranks]
        sure = _leading(pairs, lambda pair: all(cost.afresh().legal(c) for c in _largest(pair)))
        possible = sure + _leading(pairs[sure:], lambda pair: any(cost.afresh().legal(c) for c in _leanest(pair)))
        known = {sure - 1: 1.0} if sure else {}
        low, high = sure, possible
        while low < high:
            middle = (low + high) // 2
            known[middle] = _drawn(pairs[middle], cost.afresh(), seed)
            low, high = (middle + 1, high) if known[middle] >= LEGAL else (low, middle)
        known[possible] = 0.0
        at = sorted(known)
        between = np.interp(range(len(pairs)), at, [known[i] for i in at])
        for i, rank in enumerate(space.ranks):
            found[rank, patch] = 1.0 if i < sure else float(between[i])
    progress(STAGE, len(space.patches), len(space.patches))
    return found


def _drawn(pair: VitSpace, cost: VitCost, seed: int) -> float:
    """The share of a pair's candidates that fit, neither all nor none of them, from DRAWS."""
    rng = np.random.default_rng((seed, round(100 * pair.ranks[0]), pair.patches[0]))
    roomy = cost.roomy()
    known = all(roomy.legal(c) for c in _largest(pair))  # then the SRAM of none has to be planned
    fitting = sum(cost.legal(sample(pair, rng), known) for _ in range(DRAWS))
    return (1 + fitting) / (2 + DRAWS)


def _leading(pairs: Sequence[VitSpace], holds: Callable[[VitSpace], bool]) -> int:
    """How many of the first pairs something holds of that holds of none behind one of which it does not. The first and
    the last are tried first."""
    if not pairs or not holds(pairs[0]):
        return 0
    if len(pairs) == 1 or holds(pairs[-1]):
        return len(pairs)
    low, high = 1, len(pairs) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if holds(pairs[middle]) else (low, middle)
    return low


def _leanest(space: VitSpace) -> list[VitCandidate]:
    """One of them fits, or nothing does. Larger patches mean fewer tokens, but more weights of the patches."""
    ends = [smallest(one) for one in _by_attention(space)]
    return [replace(c, patch=patch, pool=pool) for patch in space.patches[::-1] for pool in space.pools for c in ends]


def _largest(space: VitSpace) -> list[VitCandidate]:
    """All of them fit, or not everything does."""
    ends = [largest(one) for one in _by_attention(space)]
    choices = product(ends, space.pools, space.positions)
    return [replace(c, pool=pool, position=position) for c, pool, position in choices]


def _by_attention(space: VitSpace) -> list[VitSpace]:
    return [replace(space, attentions=(attention,)) for attention in space.attentions]


def _note(space: VitSpace, left: VitSpace, shares: Mapping[Pair, float], kept: Sequence[Pair]) -> str:
    lines = []
    for patch in space.patches:
        runs = groupby(space.ranks, key=lambda rank: shares[rank, patch])
        parts = []
        for share, ranks in runs:
            run = list(ranks)
            parts.append(f"{run[0]:g}{f' to {run[-1]:g}' if len(run) > 1 else ''}: {share} %")
        lines.append(f"patches of {patch}: " + ", ".join(parts))
    embeds = "" if left.embeds == space.embeds else f"embeddings {', '.join(map(str, left.embeds))} alone fit; "
    return (
        f"the space before training: {embeds}{len(kept)} of {len(shares)} pairs of rank ratio and patch size are left "
        f"({size(left):.1e} of {size(space):.1e} networks), those of which {100 * LEGAL:.0f} % fit, at least {FEWEST}; "
        f"shares that fit, planned, drawn or interpolated, by rank ratio: {'; '.join(lines)}"
    )
