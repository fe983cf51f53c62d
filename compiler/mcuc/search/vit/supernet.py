"""The supernet of the space vit-lowrank: one training from which every candidate's accuracy can be read.

Every step trains the largest candidate, the smallest and a few random ones (sandwich rule): the largest learns the
targets, the others the largest one's answers (in-place distillation; Yu and Huang 2019, "Universally Slimmable
Networks"). The first epochs are the largest one's alone (as Cai et al. 2020, "Once-for-All", begin): what the others
share with it then is worth something. Norms are of layers, not of batches, so that no statistics have to be measured
for a candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mcuc.search.network import to_float
from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, largest, one_of, ranks_for, sample, smallest
from mcuc.search.supernet import resize_batch
from mcuc.search.train import Progress
from mcuc.search.training.augment import Images
from mcuc.search.training.distributed import Place
from mcuc.search.training.loop import HERE, Recipe, Trained, fit
from mcuc.search.vit.weights import Weights, answers, init_supernet, view

RANDOM = 2  # random candidates of a step
ALONE = 0.3  # share of the epochs, the first, in which only the largest candidate learns
TAUGHT = 0.5  # share of the largest one's answers in what the others learn; the targets are the rest
BATCH = 250  # images judged at a time


@dataclass(frozen=True, eq=False)
class Judge:
    """What candidates are judged on, by input size: images uint8 [n, c, r, r] that no training saw, and labels [n]."""

    images: Mapping[int, Images]
    labels: torch.Tensor


def train_supernet(
    space: VitSpace,
    images: Images,
    targets: torch.Tensor,
    recipe: Recipe,
    seed: int,
    checkpoint: Path,
    progress: Progress,
    place: Place = HERE,
    randoms: int = RANDOM,
) -> Trained:
    """The shared weights after recipe.epochs over images uint8 [n, c, r, r], r being the space's largest image, with
    targets float [n, classes]: labels, or what a teacher answers (mcuc.search.training.teacher)."""  # fmt: skip
    step = Sandwich(space, randoms, place)

    def before(epoch: int) -> None:
        step.alone = epoch < round(ALONE * recipe.epochs)

    start = init_supernet(space, seed)
    return fit(start, images, targets, recipe, seed, step, checkpoint, progress, "supernet", place, before)


@dataclass
class Sandwich:
    """A step: leaves the mean gradient over its candidates, gives the largest one's loss. A weight that none of them
    has gets no gradient and stays as it is. alone: the largest is the only one."""

    space: VitSpace
    randoms: int = RANDOM
    place: Place = HERE
    alone: bool = False

    def __call__(
        self, weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator
    ) -> float:
        others = [] if self.alone else [smallest(self.space), *(sample(self.space, rng) for _ in range(self.randoms))]
        share = 1 / (1 + len(others))
        with self.place.autocast():
            logits = given(weights, self.space, largest_drawn(self.space, rng), x)
        value = F.cross_entropy(logits.float(), y)
        (value * share).backward()  # type: ignore[no-untyped-call]
        taught = (1 - TAUGHT) * y + TAUGHT * logits.detach().float().softmax(1)
        for candidate in others:
            with self.place.autocast():
                logits = given(weights, self.space, candidate, x)
            (F.cross_entropy(logits.float(), taught) * share).backward()  # type: ignore[no-untyped-call]
        return float(value.detach())


def largest_drawn(space: VitSpace, rng: np.random.Generator) -> VitCandidate:
    """The largest candidate, with patches, pool, position and attentions drawn: no choice of them contains the
    others."""
    patch = one_of(space.patches, rng)
    drawn = replace(largest(space), patch=patch, rank=ranks_for(space, patch)[-1], pool=one_of(space.pools, rng),
                    position=one_of(space.positions, rng))  # fmt: skip
    if len(space.attentions) == 1:
        return drawn
    return replace(drawn, blocks=tuple(replace(b, attention=one_of(space.attentions, rng)) for b in drawn.blocks))


def given(weights: Weights, space: VitSpace, candidate: VitCandidate, x: torch.Tensor) -> torch.Tensor:
    """Logits of a candidate with the supernet's weights; x float [n, c, r, r] of any r is brought to its size."""
    return answers(view(weights, space, candidate), candidate, resize_batch(x, candidate.image))


def accuracy(weights: Weights, space: VitSpace, candidate: VitCandidate, judge: Judge) -> float:
    """The share of the judge's images that the candidate gets right with the supernet's weights."""
    return share_right(view(weights, space, candidate), candidate, judge.images[candidate.image], judge.labels)


@torch.no_grad()
def share_right(own: Weights, candidate: VitCandidate, images: Images, labels: torch.Tensor) -> float:
    """The share of images uint8 [n, c, image, image] that the candidate gets right with weights of its own."""
    return float(right(own, candidate, images, labels).double().mean())


@torch.no_grad()
def right(own: Weights, candidate: VitCandidate, images: Images, labels: torch.Tensor) -> torch.Tensor:
    """Which images the candidate gets right, bool [n]."""
    device, found = labels.device, []
    for start in range(0, len(images), BATCH):
        rows = torch.arange(start, min(start + BATCH, len(images)), device=device)
        logits = answers(own, candidate, to_float(images[rows].to(device)))
        found.append(logits.argmax(1) == labels[rows])
    return torch.cat(found)
