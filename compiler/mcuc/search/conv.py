"""The space of depthwise-separable networks as the search takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mcuc.data.dataset import U8
from mcuc.search import supernet
from mcuc.search.export import to_onnx
from mcuc.search.network import count_correct, forward, measure_stats, view
from mcuc.search.space import Finished, Weights
from mcuc.search.spaces import ds_conv
from mcuc.search.spaces.ds_conv import Candidate
from mcuc.search.train import Loss, Progress, Recipe, Trained, fit

RATE = 0.012


@dataclass(frozen=True)
class DsConv:
    """See mcuc.search.space.Space."""

    space: ds_conv.Space

    @property
    def resolutions(self) -> tuple[int, ...]:
        return self.space.resolutions

    @property
    def rate(self) -> float:
        return RATE

    def settings(self) -> Mapping[str, Any]:
        return asdict(self.space)

    def largest(self) -> Candidate:
        return ds_conv.largest(self.space)

    def smallest(self) -> Candidate:
        return ds_conv.smallest(self.space)

    def sample(self, rng: np.random.Generator) -> Candidate:
        return ds_conv.sample(self.space, rng)

    def mutate(self, parent: Candidate, rng: np.random.Generator, rate: float = 0.25) -> Candidate:
        return ds_conv.mutate(self.space, parent, rng, rate)

    def cross(self, first: Candidate, second: Candidate, rng: np.random.Generator) -> Candidate:
        return ds_conv.cross(first, second, rng)

    def parse(self, key: str) -> Candidate:
        return ds_conv.parse(key)

    def work(self, candidate: Candidate) -> float:
        return supernet.work_of(ds_conv.to_layers(self.space, candidate))

    def train_shared(
        self, x: U8, y: torch.Tensor, recipe: Recipe, seed: int, checkpoint: Path, progress: Progress
    ) -> Trained:
        return supernet.train_supernet(self.space, x, y, recipe, seed, checkpoint, progress)

    def accuracy(self, weights: Weights, candidate: Candidate, judge: supernet.Judge) -> float:
        return supernet.accuracy(weights, self.space, candidate, judge)

    def train_one(
        self, weights: Weights, candidate: Candidate, x: torch.Tensor, y: torch.Tensor, recipe: Recipe, seed: int,
        checkpoint: Path, progress: Progress,
    ) -> Trained:  # fmt: skip
        own = view(weights, self.space, candidate)
        loss = label_loss(self.space, candidate, recipe.smoothing)
        return fit(own, x, y, recipe, seed, loss, checkpoint, progress, "training")

    def finish(
        self, name: str, weights: Weights, candidate: Candidate, sample: torch.Tensor, x: torch.Tensor, y: torch.Tensor
    ) -> Finished:
        stats = measure_stats(weights, self.space, candidate, sample)
        right = count_correct(weights, self.space, candidate, stats, x, y)
        return Finished(to_onnx(name, weights, self.space, candidate, stats), right)


def label_loss(space: ds_conv.Space, candidate: Candidate, smoothing: float) -> Loss:
    """Cross entropy against smoothed labels."""

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> float:
        value = F.cross_entropy(forward(weights, space, candidate, x), y, label_smoothing=smoothing)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    return loss
