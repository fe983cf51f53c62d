"""What benchmarks/search_pays_vit.py compares: data sets, spaces, limits and recipes, and which networks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mcuc.search.evolution import Plan
from mcuc.search.pareto import Constraints, Cost, fits
from mcuc.search.spaces.vit_lowrank import POOLS, VitBlock, VitCandidate, VitSpace, sample, tiny_space
from mcuc.search.training.augment import Augment
from mcuc.search.training.loop import Recipe
from mcuc.search.training.teacher import soft_labels, taught
from vit_data import Data, cifar10, imagenet, imagenette, rows_of, targets_of

BOARD, TOOLCHAIN, OPTIMIZE = "stm32f746g-disco", "auto", "balanced"
SEEDS, RANDOM = (0, 1, 2), 6
MOST_DRAWS = 10_000
RANKS = (0.4, 0.5, 0.75, 1.0)  # 1: dense layers, as the hand-made network's


@dataclass(frozen=True)
class Scale:
    """How much of everything. images: training and test images of each data set; epochs: of its supernet and of every
    final training."""

    images: dict[str, tuple[int, int]]
    epochs: dict[str, tuple[int, int]]
    plan: Plan
    randoms: int = RANDOM
    seeds: tuple[int, ...] = SEEDS
    batch: int = 64
    embeds: tuple[int, ...] = (32, 48, 64)
    depths: tuple[int, ...] = (2, 3, 4)
    ranks: tuple[float, ...] = RANKS
    heads: tuple[int, ...] = (2, 3, 4)
    ratios: tuple[float, ...] = (2.0, 3.0, 4.0)
    pools: tuple[str, ...] = POOLS


SCALES = {
    "smoke": Scale({"cifar10": (200, 50), "imagenette": (200, 50)}, {"cifar10": (1, 1), "imagenette": (1, 1)},
                   Plan(3, 2, 2), 2, (0,), 32, (32,), (1, 2), (0.5, 1.0), (2,), (2.0, 4.0), POOLS[:1]),
    "quick": Scale({"cifar10": (10_000, 5_000), "imagenette": (6_000, 1_966)},
                   {"cifar10": (30, 30), "imagenette": (40, 40)}, Plan(48, 24, 8)),
    "full": Scale({"cifar10": (10_000, 5_000), "imagenette": (6_000, 1_966), "imagenet": (0, 0)},
                  {"cifar10": (200, 200), "imagenette": (200, 200), "imagenet": (300, 300)}, Plan(128, 64, 20)),
}  # fmt: skip
# bytes of SRAM and flash, milliseconds of one inference on BOARD
LIMITS = {
    "cifar10": Constraints(34 << 10, 176 << 10, 45.0),
    "imagenette": Constraints(34 << 10, 176 << 10, 45.0),
    "imagenet": Constraints(320 << 10, None, None),  # MCUFormer's own limit
}
PATCHES = {"cifar10": (4, 8), "imagenette": (12, 16, 24)}
LOADERS = {"cifar10": cifar10, "imagenette": imagenette}


@dataclass(frozen=True)
class Job:
    """One data set at one scale."""

    name: str
    scale: Scale
    source: Path
    folder: Path
    teacher: Path | None = None  # a float .onnx whose answers are half of what the supernet learns

    def data(self, device: str = "cpu") -> Data:
        """Its images; those of ImageNet stay in files and are decoded for the device."""
        if self.name == "imagenet":
            return imagenet(self.source, 240, 10_000, device)
        return LOADERS[self.name](self.source, *self.scale.images[self.name])

    def space(self, classes: int) -> VitSpace:
        """What is searched: at 32 and 96 pixels a space around the limits, for ImageNet MCUFormer's "T"."""
        if self.name == "imagenet":
            return tiny_space(3, classes)
        s, side = self.scale, 32 if self.name == "cifar10" else 96
        return VitSpace((side,), PATCHES[self.name], s.embeds, 16, s.ranks, s.depths, s.heads, s.ratios, 3,
                        classes, s.pools)  # fmt: skip

    def recipe(self, stage: int) -> Recipe:
        """Of the supernet (stage 1) and of every final training (3)."""
        s = self.scale
        epochs = s.epochs[self.name][0 if stage == 1 else 1]
        if self.name == "imagenet":  # DeiT's, without what an M7's few parameters do not need (docs/supernet.md)
            augment = Augment(padding=16, mixup=0.2, cutmix=1.0, erase=0.25)
            return Recipe(stage, epochs, 1024, rate=1e-3, warmup=0.02, average=0.9999, augment=augment)
        augment = Augment(padding=3 if self.name == "cifar10" else 8)
        if epochs >= 100:
            augment = replace(augment, mixup=0.2, cutmix=1.0, erase=0.25)
        return Recipe(stage, epochs, s.batch, rate=1e-3, average=0.998, snapshots=0 if stage == 1 else 3,
                      augment=augment)  # fmt: skip

    def lessons(self, data: Data) -> torch.Tensor:
        """The targets of the supernet."""
        if self.teacher is None:
            return targets_of(data, data.kept)
        images = rows_of(data.train, data.kept)
        assert isinstance(images, torch.Tensor), "a teacher is asked about images in memory"
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        return taught(data.train_y[data.kept], soft_labels(self.teacher, pixels, data.classes))

    def settings(self) -> str:
        """16 hex digits of everything that decides the cells, but the code."""
        space, recipes = self.space(10), [asdict(self.recipe(i)) for i in (1, 3)]
        teacher = hashlib.sha256(self.teacher.read_bytes()).hexdigest() if self.teacher else None
        what = [teacher, self.name, asdict(self.scale), asdict(space), recipes, asdict(LIMITS[self.name]), BOARD]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def hand_made(space: VitSpace, limits: Constraints, cost_of: Callable[[VitCandidate], Cost]) -> VitCandidate:
    """DeiT's proportions: heads of head_dim as wide as the embedding together, MLPs of ratio 4, class token, positions
    learned, dense layers, one block for every 16 channels (Touvron et al. 2021: 12 for 192), small patches. The largest
    of the family that fits, then as many blocks more as fit."""
    best = None
    for heads in space.heads:
        embed = heads * space.head_dim
        for depth in range(max(1, embed // 16), space.depths[-1] + 1):
            block = VitBlock(heads, space.ratios[-1])
            one = VitCandidate(space.images[-1], space.patches[0], embed, space.head_dim, space.ranks[-1], "token",
                               "absolute", (block,) * depth)  # fmt: skip
            if embed in space.embeds and depth in space.depths and fits(cost_of(one), limits):
                best = one
    if best is None:
        raise SystemExit("no network of DeiT's proportions fits the limits")
    return best


def random_ones(space: VitSpace, limits: Constraints, count: int,
                cost_of: Callable[[VitCandidate], Cost]) -> list[VitCandidate]:  # fmt: skip
    """Uniform draws that fit, all different. Ends the program where too few do."""
    rng, found = np.random.default_rng(17), {}
    for _ in range(MOST_DRAWS):
        one = sample(space, rng)
        if one.key not in found and fits(cost_of(one), limits):
            found[one.key] = one
        if len(found) == count:
            return list(found.values())
    raise SystemExit(f"{len(found)} of {MOST_DRAWS} random networks fit the limits and differ, {count} are compared")
