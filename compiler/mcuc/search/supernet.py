"""The weight-sharing supernet: one training run from which every candidate's accuracy can be read.

Each step trains the largest network on the labels and smaller ones on its answers (in-place distillation and a form of
the sandwich rule; Yu & Huang 2019, "Universally Slimmable Networks"). Smaller resolutions see the same images resized.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mcuc.data.dataset import U8, resize, resize_matrix
from mcuc.search.network import count_correct, forward, init_supernet, measure_stats, to_float, view
from mcuc.search.spaces.ds_conv import Candidate, Space, largest, sample, smallest
from mcuc.search.train import Loss, Progress, Recipe, Trained, fit

SMALLEST_EVERY = 4
CALIBRATION_IMAGES = 512


@dataclass(frozen=True, eq=False)
class Judge:
    """What a candidate is judged on, by resolution: images for its norms' statistics, held-out images and labels.

    Images are uint8 [n, c, r, r].
    """

    calibration: Mapping[int, torch.Tensor]
    images: Mapping[int, torch.Tensor]
    labels: torch.Tensor


def train_supernet(space: Space, x: U8, y: torch.Tensor, recipe: Recipe, seed: int, checkpoint: Path,
                   progress: Progress) -> Trained:
    """The shared weights after recipe.epochs over x uint8 [n, h, w, c], which is resized to the largest resolution."""
    generator = torch.Generator().manual_seed(seed)
    images = to_tensor(x, space.resolutions[-1])
    return fit(init_supernet(space, generator), images, y, recipe, seed, sandwich(space, recipe.smoothing), checkpoint,
               progress, "supernet")


def sandwich(space: Space, smoothing: float) -> Loss:
    """The largest network and one other per step: a random one, the smallest at every fourth step or so."""
    full, least = largest(space), smallest(space)

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> float:
        logits = forward(view(weights, space, full), space, full, x)
        value = F.cross_entropy(logits, y, label_smoothing=smoothing)
        value.backward()  # type: ignore[no-untyped-call]
        other = least if rng.integers(SMALLEST_EVERY) == 0 else sample(space, rng)
        answers = forward(view(weights, space, other), space, other, resize_batch(x, other.resolution))
        F.cross_entropy(answers, logits.detach().softmax(1)).backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    return loss


def resize_batch(x: torch.Tensor, side: int) -> torch.Tensor:
    """resize() of float [n, c, h, h] without its rounding to whole steps."""
    if x.shape[2] == side:
        return x
    weights = torch.from_numpy((resize_matrix(x.shape[2], side) / 2.0**14).astype(np.float32))
    return weights @ x @ weights.T


def to_tensor(x: U8, side: int) -> torch.Tensor:
    """uint8 [n, h, w, c] resized to [n, c, side, side]."""
    return torch.from_numpy(np.ascontiguousarray(resize(x, side, side).transpose(0, 3, 1, 2)))


def make_judge(space: Space, calibration: U8, x: U8, y: torch.Tensor) -> Judge:
    """Everything at every resolution, resized as a host would do it before it sends an image to the firmware."""
    return Judge({r: to_tensor(calibration, r) for r in space.resolutions},
                 {r: to_tensor(x, r) for r in space.resolutions}, y)


def accuracy(weights: Mapping[str, torch.Tensor], space: Space, candidate: Candidate, judge: Judge) -> float:
    """The share of held-out images that the candidate gets right with the supernet's weights."""
    params = view(weights, space, candidate)
    stats = measure_stats(params, space, candidate, to_float(judge.calibration[candidate.resolution]))
    images = judge.images[candidate.resolution]
    return count_correct(params, space, candidate, stats, images, judge.labels) / len(images)
