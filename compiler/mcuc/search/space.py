"""What the search asks of a space: its candidates, how they learn, and how the one that is chosen leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

    from mcuc.data.dataset import U8
    from mcuc.search.supernet import Judge
    from mcuc.search.train import Progress, Recipe, Trained

Weights = Mapping[str, "torch.Tensor"]


class Candidate(Protocol):
    """A network of a space, a frozen dataclass."""

    @property
    def key(self) -> str:
        """Stable text form, which the space's parse() reads back."""

    @property
    def resolution(self) -> int:
        """Pixels a side of the (square) input."""


@dataclass(frozen=True, eq=False)
class Finished:
    """proto: a trained network as a float ONNX model, input pixel / 255, output behind a softmax; right: test images
    that it gets right; notes: what the report says of how it was written; profile: under whose rounding its int8 form
    is compiled, tflite or onnx, None for tflite where that can express it."""

    proto: Any
    right: int
    notes: tuple[str, ...] = ()
    profile: str | None = "tflite"


class Space(Protocol):
    """Candidates are the space's own: no method takes another space's. work: time of one image in training, in units of
    one multiply-accumulate of the forward pass. rate: peak learning rate that suits its networks."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Input sizes of its candidates, ascending."""

    @property
    def rate(self) -> float: ...

    def settings(self) -> Mapping[str, Any]:
        """Everything that decides what its candidates are and what they compute, for the name of saved state."""

    def largest(self) -> Any: ...

    def smallest(self) -> Any: ...

    def sample(self, rng: np.random.Generator) -> Any: ...

    def mutate(self, parent: Any, rng: np.random.Generator, rate: float = 0.25) -> Any: ...

    def cross(self, first: Any, second: Any, rng: np.random.Generator) -> Any: ...

    def parse(self, key: str) -> Any: ...

    def work(self, candidate: Any) -> float: ...

    def train_shared(
        self, x: U8, y: torch.Tensor, recipe: Recipe, seed: int, checkpoint: Path, progress: Progress
    ) -> Trained:
        """The weights that all candidates share, from images uint8 [n, h, w, c] and labels."""

    def accuracy(self, weights: Weights, candidate: Any, judge: Judge) -> float:
        """The share of held-out images that the candidate gets right with the shared weights."""

    def train_one(
        self, weights: Weights, candidate: Any, x: torch.Tensor, y: torch.Tensor, recipe: Recipe, seed: int,
        checkpoint: Path, progress: Progress,
    ) -> Trained:  # fmt: skip
        """The candidate's own weights, trained on from its share of the shared ones; x uint8 [n, c, r, r]."""

    def finish(
        self, name: str, weights: Weights, candidate: Any, sample: torch.Tensor, x: torch.Tensor, y: torch.Tensor
    ) -> Finished:
        """The trained network written down. sample: float training images [n, c, r, r]; x, y: the test's, x uint8."""


def mean_work(space: Space, seed: int) -> float:
    """Space.work of a candidate, averaged over 64 random ones."""
    rng = np.random.default_rng(seed)
    return float(np.mean([space.work(space.sample(rng)) for _ in range(64)]))
