"""The training of one network of the space, from the supernet's weights or from nothing, and its soup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mcuc.search.spaces.vit_lowrank import VitCandidate
from mcuc.search.train import Loss, Progress
from mcuc.search.training.augment import Images
from mcuc.search.training.averaging import greedy_soup
from mcuc.search.training.distributed import Place
from mcuc.search.training.loop import HERE, Recipe, Trained, fit
from mcuc.search.vit.network import Vit
from mcuc.search.vit.supernet import share_right
from mcuc.search.vit.weights import Weights, answers, init, network


@dataclass(frozen=True, eq=False)
class Finished:
    """network: on pixels in 0..1. validated: (name, share of the validation images right) of the last weights, their
    moving average and the soup; the network is the soup. members: which of [last, average, snapshots ...] are in it.
    """

    network: Vit
    trained: Trained
    validated: tuple[tuple[str, float], ...]
    members: tuple[int, ...]


def train_network(
    candidate: VitCandidate,
    start: Weights | None,
    images: Images,
    targets: torch.Tensor,
    validation: tuple[Images, torch.Tensor],
    recipe: Recipe,
    seed: int,
    checkpoint: Path,
    progress: Progress,
    place: Place = HERE,
) -> Finished:
    """images uint8 [n, c, image, image], targets float [n, classes]; validation: images that no training sees, and
    their labels. start: weights to train from (supernet.view), None for fresh ones. Raises as fit does."""  # fmt: skip
    channels = images[torch.zeros(1, dtype=torch.long, device=targets.device)].shape[1]
    begin: Mapping[str, torch.Tensor] = start or init(candidate, targets.shape[1], channels, seed)
    trained = fit(begin, images, targets, recipe, seed, label_loss(candidate, place), checkpoint, progress, "training",
                  place)  # fmt: skip
    held, labels = validation
    labels = labels.to(place.device)

    def score(weights: Weights) -> float:
        return share_right(weights, candidate, held, labels)

    soup = greedy_soup([trained.weights, trained.average, *trained.snapshots], score)
    validated = (("last", score(trained.weights)), ("average", score(trained.average)), ("soup", soup.score))
    weights = {k: v.cpu() for k, v in soup.weights.items()}
    return Finished(network(weights, candidate), trained, validated, soup.members)


def label_loss(candidate: VitCandidate, place: Place = HERE) -> Loss:
    """Cross entropy against the targets."""

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> float:
        with place.autocast():
            logits = answers(weights, candidate, x)
        value = F.cross_entropy(logits.float(), y)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    return loss
