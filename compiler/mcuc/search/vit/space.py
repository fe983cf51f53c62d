"""The space of transformers with low-rank layers as the search takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mcuc.data.dataset import U8
from mcuc.data.dataset import resize as resize_pixels
from mcuc.ir import Array
from mcuc.quantize.model import to_proto
from mcuc.search import supernet as judging
from mcuc.search.space import Finished, Weights
from mcuc.search.spaces import vit_lowrank
from mcuc.search.spaces.vit_lowrank import VitCandidate, VitSpace, dense_shapes
from mcuc.search.supernet import to_tensor
from mcuc.search.train import Progress, Recipe, Trained
from mcuc.search.training import loop
from mcuc.search.training.augment import Augment
from mcuc.search.training.teacher import Teacher, one_hot, soft_labels, taught
from mcuc.search.vit import supernet
from mcuc.search.vit.export import float_model
from mcuc.search.vit.final import label_loss
from mcuc.search.vit.network import Merging, Vit, merged, merging
from mcuc.search.vit.weights import network, view

RATE = 2e-3
TAUGHT = 0.5  # share of a teacher's answers in the targets; the labels are the rest
OVERHEAD = 4e5  # of an image in training beside its products, in units of Space.work


@dataclass(frozen=True)
class VitLowRank:
    """See mcuc.search.space.Space. keep_factors: dense layers leave with three factors, not with the cheapest form.
    teacher: a classifier of images of the space's largest size whose answers are TAUGHT of what is learnt."""

    space: VitSpace
    keep_factors: bool = False
    teacher: Teacher | None = None

    @property
    def resolutions(self) -> tuple[int, ...]:
        return self.space.images

    @property
    def rate(self) -> float:
        return RATE

    def settings(self) -> Mapping[str, Any]:
        teacher = {} if self.teacher is None else {"teacher": self.teacher.digest}
        return {"space": asdict(self.space), "keep_factors": self.keep_factors, **teacher}

    def largest(self) -> VitCandidate:
        return vit_lowrank.largest(self.space)

    def smallest(self) -> VitCandidate:
        return vit_lowrank.smallest(self.space)

    def sample(self, rng: np.random.Generator) -> VitCandidate:
        return vit_lowrank.sample(self.space, rng)

    def mutate(self, parent: VitCandidate, rng: np.random.Generator, rate: float = 0.25) -> VitCandidate:
        return vit_lowrank.mutate(self.space, parent, rng, rate)

    def cross(self, first: VitCandidate, second: VitCandidate, rng: np.random.Generator) -> VitCandidate:
        return vit_lowrank.cross(self.space, first, second, rng)

    def parse(self, key: str) -> VitCandidate:
        return vit_lowrank.parse(key)

    def work(self, candidate: VitCandidate) -> float:
        c, t = candidate, candidate.tokens
        total = float(c.embed * self.space.channels * (c.patch * c.grid) ** 2)
        for b in c.blocks:
            total += t * sum(ins * outs for ins, outs in dense_shapes(c, b).values())
            inside = b.heads * c.head_dim
            total += 2 * t * t * inside if b.attention == "softmax" else t * inside * (2 * c.head_dim + 1 + 9)
        return total + OVERHEAD

    def train_shared(
        self, x: U8, y: torch.Tensor, recipe: Recipe, seed: int, checkpoint: Path, progress: Progress
    ) -> Trained:
        images = to_tensor(x, self.space.images[-1])
        targets = self._targets(images, y)
        found = supernet.train_supernet(
            self.space, images, targets, _shared(recipe, self.space.images[-1]), seed, checkpoint, progress
        )
        return Trained(found.weights, found.losses)

    def accuracy(self, weights: Weights, candidate: VitCandidate, judge: judging.Judge) -> float:
        return supernet.accuracy(weights, self.space, candidate, supernet.Judge(judge.images, judge.labels))

    def train_one(
        self, weights: Weights, candidate: VitCandidate, x: torch.Tensor, y: torch.Tensor, recipe: Recipe, seed: int,
        checkpoint: Path, progress: Progress,
    ) -> Trained:  # fmt: skip
        start = {k: v.detach().contiguous() for k, v in view(weights, self.space, candidate).items()}
        targets = self._targets(x, y)
        found = loop.fit(start, x, targets, _recipe(recipe, candidate.image), seed, label_loss(candidate), checkpoint,
                         progress, "training")  # fmt: skip
        return Trained(found.weights, found.losses)

    def _targets(self, images: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Of images uint8 [n, c, r, r]: their labels, mixed with what the teacher answers, each asked about once."""
        labels, classes = y.numpy(), self.space.classes
        if self.teacher is None:
            return one_hot(labels, classes)
        side = self.space.images[-1]
        pixels = resize_pixels(images.permute(0, 2, 3, 1).contiguous().numpy(), side, side)
        return taught(labels, soft_labels(self.teacher.path, pixels, classes, resized=False), TAUGHT)

    def finish(
        self, name: str, weights: Weights, candidate: VitCandidate, sample: torch.Tensor, x: torch.Tensor,
        y: torch.Tensor,
    ) -> Finished:  # fmt: skip
        right = int(supernet.right(weights, candidate, x, y).sum())
        whole = network(weights, candidate)
        small = merged(whole, self.keep_factors)
        model = float_model(name, candidate, self.space.classes, self.space.channels, constants_of(small))
        import onnx

        note = merging_note(merging(whole, self.keep_factors))
        return Finished(onnx.load_from_string(to_proto(model)), right, (note,), profile=None)


def _shared(recipe: Recipe, side: int) -> loop.Recipe:
    """For the supernet: what many networks share wants smaller steps than one network."""
    return replace(_recipe(recipe, side), rate=recipe.rate / 2)


def _recipe(recipe: Recipe, side: int) -> loop.Recipe:
    """The same for the loop of transformers."""
    shift = max(1, round(recipe.shift * side)) if recipe.shift else 0
    augment = Augment(flip=recipe.flip, padding=shift, smoothing=recipe.smoothing)
    return loop.Recipe(recipe.stage, recipe.epochs, recipe.batch, rate=recipe.rate, warmup=recipe.warmup,
                       decay=recipe.decay, augment=augment)  # fmt: skip


def constants_of(module: Vit) -> dict[str, Array]:
    """A merged network's weights as mcuc.search.vit.export.float_model takes them."""
    found = {n: np.ascontiguousarray(v.detach().numpy().astype(np.float32)) for n, v in module.named_parameters()}
    if module.candidate.position == "relative":
        bias = found.pop("position")[:, module.distances.numpy()]
        found |= {f"bias.{b.heads}": bias[None, : b.heads].copy() for b in module.candidate.blocks}
    return found


def merging_note(found: Merging) -> str:
    """What the report says of it."""
    three, two, one = found.forms
    if three:
        return (
            f"all {three} dense layers of the blocks keep their three factors: {found.weights:,} bytes of weights, "
            f"{found.macs:,} MACs"
        )
    return (
        f"factors merged in {two + one} dense layers: {two} have two, {one} one; {found.weights:,} bytes of weights "
        f"instead of {found.weights_before:,}, {found.macs:,} MACs instead of {found.macs_before:,}"
    )
