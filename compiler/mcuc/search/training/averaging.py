"""Averages of weights, which cost nothing at inference: a moving one during training, and soups of checkpoints.

Soups: Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time", recipe 1 (greedy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Weights = Mapping[str, torch.Tensor]


@torch.no_grad()
def follow(average: dict[str, torch.Tensor], weights: Weights, step: int, decay: float) -> None:
    """Moves the average towards the weights, in place: average = d average + (1 - d) weights.

    d = min(decay, (1 + step) / (10 + step)): what the training began with is soon forgotten.
    """
    rate = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_([average[k] for k in weights], list(weights.values()), rate)


@dataclass(frozen=True, eq=False)
class Soup:
    """weights: the average of the members; members: their indices, in the order they came in; score: its own."""

    weights: dict[str, torch.Tensor]
    members: tuple[int, ...]
    score: float


@torch.no_grad()
def greedy_soup(found: Sequence[Weights], score: Callable[[Weights], float]) -> Soup:
    """From the best of the found down, each that does not lower the score of the average comes in.

    So the soup's score is never below the best single one's on the data that score looks at.
    """
    if not found:
        raise ValueError("no weights to average")
    scores = [score(w) for w in found]
    ranked = sorted(range(len(found)), key=lambda i: (-scores[i], i))
    members, best = [ranked[0]], scores[ranked[0]]
    weights = {k: v.detach().clone() for k, v in found[ranked[0]].items()}
    for i in ranked[1:]:
        share = 1 / (len(members) + 1)
        tried = {k: torch.lerp(v, found[i][k].detach(), share) for k, v in weights.items()}
        scored = score(tried)
        if scored >= best:
            members.append(i)
            weights, best = tried, scored
    return Soup(weights, tuple(members), best)
