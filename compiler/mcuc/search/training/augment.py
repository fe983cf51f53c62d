"""Augmentation for small data, drawn for the whole batch so that it does not depend on how many processes share it.

Mirror, random crop after padding (He et al. 2016), random erasing (Zhong et al. 2020), mixup (Zhang et al. 2018),
CutMix (Yun et al. 2019), label smoothing (Szegedy et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from mcuc.ir import Array
from mcuc.search.network import to_float

FILL = 128  # what erased and padded pixels become: the middle of their range
ERASED = (0.02, 0.25)  # share of the image's area
ASPECT = 3.0  # of an erased box, at most, either way


class Images(Protocol):
    """Something like a tensor of uint8 [n, c, h, w]: indexed by int64 [m], it gives uint8 [m, c, h, w]."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: torch.Tensor, /) -> torch.Tensor: ...


@dataclass(frozen=True)
class Augment:
    """flip: mirror half of the images. padding: pixels around the image before a crop of its size. erase: the share
    of images with a box erased. mixup, cutmix: alpha of the Beta distribution that the share is drawn from, 0 for
    none; where both are given, each takes half of the batches. smoothing: the share of the label that goes to all
    classes alike."""

    flip: bool = True
    padding: int = 0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.1


@dataclass(frozen=True, eq=False)
class Draws:
    """What chance decided for a batch of n: mirrored bool [n]; shifts int [n, 2], down and right; boxes int [n, 4] =
    (top, left, height, width) to erase, of height 0 where nothing is; share of each image itself, the rest being its
    partner's (the batch in reverse); cut: the partner's box, None for mixup."""

    mirrored: Array
    shifts: Array
    boxes: Array
    share: float
    cut: tuple[int, int, int, int] | None


def draw(n: int, side: int, augment: Augment, rng: np.random.Generator) -> Draws:
    """For n square images of side pixels."""
    mirrored = rng.random(n) < (0.5 if augment.flip else 0.0)
    shifts = rng.integers(0, 2 * augment.padding + 1, (n, 2))
    boxes = np.zeros((n, 4), np.int64)
    if augment.erase:
        area = rng.uniform(*ERASED, n) * side * side
        aspect = np.exp(rng.uniform(-np.log(ASPECT), np.log(ASPECT), n))
        size = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], 1)
        size = np.clip(np.rint(size), 1, side).astype(np.int64)
        corner = (rng.random((n, 2)) * (side - size + 1)).astype(np.int64)
        boxes = np.where((rng.random(n) < augment.erase)[:, None], np.concatenate([corner, size], 1), 0)
    share, cut = 1.0, None
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(augment, kind)]
    if kinds:
        kind = kinds[int(rng.integers(len(kinds)))]
        alpha = getattr(augment, kind)
        share = float(rng.beta(alpha, alpha))
        if kind == "cutmix":
            h = w = round(side * sqrt(1 - share))
            top, left = (int(v) for v in rng.integers(0, side - h + 1, 2))
            cut, share = (top, left, h, w), 1 - h * w / side**2
    return Draws(mirrored, shifts, boxes, share, cut)


def batch(
    images: Images,
    targets: torch.Tensor,
    rows: torch.Tensor,
    augment: Augment,
    rng: np.random.Generator,
    own: slice = slice(None),
) -> tuple[torch.Tensor, torch.Tensor]:
    """The own part of the batch of rows: float images [m, c, h, w] in 0..1 and targets [m, classes].

    targets: float [all images, classes]. Every process draws for all rows and then makes its own.
    """  # fmt: skip
    first = images[rows[:1]]
    draws = draw(len(rows), first.shape[-1], augment, rng)
    numbers = np.arange(len(rows))[own]
    x, y = _moved(images, rows, numbers, draws, augment), _smoothed(targets[rows[own]], augment.smoothing)
    if draws.share < 1:
        partners = len(rows) - 1 - numbers
        other = _moved(images, rows, partners, draws, augment)
        y = draws.share * y + (1 - draws.share) * _smoothed(targets[rows[partners]], augment.smoothing)
        if draws.cut is None:
            return draws.share * to_float(x) + (1 - draws.share) * to_float(other), y
        top, left, h, w = draws.cut
        x[..., top : top + h, left : left + w] = other[..., top : top + h, left : left + w]
    return to_float(x), y


def _moved(images: Images, rows: torch.Tensor, numbers: Array, draws: Draws, augment: Augment) -> torch.Tensor:
    """Those numbers of the batch, mirrored, shifted, with their boxes erased: uint8, no longer the data's own."""
    x = images[rows[torch.from_numpy(numbers).to(rows.device)]].clone()
    n, _, h, w = x.shape
    device = x.device
    if augment.flip:
        mirrored = torch.from_numpy(draws.mirrored[numbers]).to(device)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    if augment.padding:
        windows = F.pad(x, (augment.padding,) * 4, value=FILL).unfold(2, h, 1).unfold(3, w, 1)
        dy, dx = torch.from_numpy(draws.shifts[numbers]).to(device).unbind(1)
        x = windows[torch.arange(n, device=device), :, dy, dx]
    if augment.erase:
        top, left, tall, wide = torch.from_numpy(draws.boxes[numbers]).to(device)[:, :, None, None].unbind(1)
        down, right = torch.arange(h, device=device)[None, :, None], torch.arange(w, device=device)[None, None, :]
        inside = (down >= top) & (down < top + tall) & (right >= left) & (right < left + wide)
        x = torch.where(inside[:, None], torch.full_like(x, FILL), x)
    return x


def _smoothed(targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    return targets * (1 - smoothing) + smoothing / targets.shape[1]
