"""The weight-sharing supernet: one training run from which every candidate's accuracy can be read.

Each step draws two candidates uniformly, so that no size is favoured when they are ranked (Guo et al. 2020, "Single
Path One-Shot"). The larger learns the labels, the smaller the labels and the larger one's answers (in-place
distillation, Yu & Huang 2019, "Universally Slimmable Networks"). Lower resolutions see the same images resized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mcuc.data.dataset import U8, resize, resize_matrix
from mcuc.search.layers import Layer
from mcuc.search.network import count_correct, forward, init_supernet, measure_stats, to_float, view
from mcuc.search.spaces.ds_conv import Candidate, Space, sample, to_layers
from mcuc.search.train import Loss, Progress, Recipe, Trained, fit

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
    return fit(init_supernet(space, generator), images, y, recipe, seed, pair_loss(space, recipe.smoothing), checkpoint,
               progress, "supernet")


def pair_loss(space: Space, smoothing: float) -> Loss:
    """Two random candidates; every filter that neither contains gets a gradient of zero, so that all age alike."""
    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> float:
        pair = sorted((sample(space, rng), sample(space, rng)), key=lambda c: work_of(to_layers(space, c)))
        small, large = pair
        labels = F.one_hot(y, space.classes).float() * (1 - smoothing) + smoothing / space.classes
        logits = _answers(weights, space, large, x)
        value = F.cross_entropy(logits, labels)
        value.backward()  # type: ignore[no-untyped-call]
        taught = (labels + logits.detach().softmax(1)) / 2
        F.cross_entropy(_answers(weights, space, small, x), taught).backward()  # type: ignore[no-untyped-call]
        for weight in weights.values():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        return float(value.detach())

    return loss


def _answers(weights: Mapping[str, torch.Tensor], space: Space, candidate: Candidate, x: torch.Tensor) -> torch.Tensor:
    return forward(view(weights, space, candidate), space, candidate, resize_batch(x, candidate.resolution))


def work_of(layers: Sequence[Layer]) -> float:
    """How long one image takes in training, in units of one multiply-accumulate of the forward pass.

    The constant stands for what grows with the activations and the number of layers instead, as measured in training
    networks of 0.5 and 1.3 million; a unit, forward and backward, takes about 0.45 ns on one x86 core with AVX-512.
    """
    return sum(layer.macs for layer in layers) + 8e5


def resize_batch(x: torch.Tensor, side: int) -> torch.Tensor:
    """resize() of float [n, c, h, h] without its rounding to whole steps."""
    if x.shape[2] == side:
        return x
    weights = torch.from_numpy((resize_matrix(x.shape[2], side) / 2.0**14).astype(np.float32))
    return weights @ x @ weights.T


def to_tensor(x: U8, side: int) -> torch.Tensor:
    """uint8 [n, h, w, c] resized to [n, c, side, side]."""
    return torch.from_numpy(np.ascontiguousarray(resize(x, side, side).transpose(0, 3, 1, 2)))


def make_judge(resolutions: Sequence[int], calibration: U8, x: U8, y: torch.Tensor) -> Judge:
    """Everything at every resolution, resized as a host would do it before it sends an image to the firmware."""
    return Judge({r: to_tensor(calibration, r) for r in resolutions},
                 {r: to_tensor(x, r) for r in resolutions}, y)


def accuracy(weights: Mapping[str, torch.Tensor], space: Space, candidate: Candidate, judge: Judge) -> float:
    """The share of held-out images that the candidate gets right with the supernet's weights."""
    params = view(weights, space, candidate)
    stats = measure_stats(params, space, candidate, to_float(judge.calibration[candidate.resolution]))
    images = judge.images[candidate.resolution]
    return count_correct(params, space, candidate, stats, images, judge.labels) / len(images)
