"""The images that benchmarks/search_pays_vit.py learns from and is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mcuc.data.dataset import I64, stratified_split
from mcuc.search.supernet import to_tensor
from mcuc.search.training.augment import Images
from mcuc.search.training.files import Files, class_folders
from mcuc.search.training.teacher import one_hot
from ptq import jpegs


@dataclass(frozen=True, eq=False)
class Data:
    """Square images uint8 [n, 3, side, side] and labels. kept: rows of the training part that the supernet learns from;
    held: those that candidates are ranked on; unseen: half of held, which no training of weights sees at all."""

    train: Images
    train_y: I64
    test: Images
    test_y: I64
    classes: int
    side: int
    kept: I64
    held: I64
    unseen: I64

    @property
    def final(self) -> I64:
        """Rows that the final trainings learn from."""
        return np.setdiff1d(np.arange(len(self.train_y)), self.unseen)


def divided(train: Images, y: I64, test: Images, test_y: I64, classes: int, side: int,
            share: float = 0.2) -> Data:  # fmt: skip
    """The training part divided: 1 - share kept, the rest held, half of which unseen; the same in every class."""
    kept, held = stratified_split(y, share, 0)
    unseen = held[stratified_split(y[held], 0.5, 0)[1]]
    return Data(train, y, test, test_y, classes, side, kept, held, unseen)


def cifar10(shared: Path, count: int, judged: int) -> Data:
    """`count` of the 50,000 training images, evenly spread, and the first `judged` of the test's 5,000."""
    return _from_npz(shared, "cifar10_train_jpeg.npz", "cifar10_test_a_jpeg.npz", count, judged, 32)


def imagenette(shared: Path, count: int, judged: int) -> Data:
    """As cifar10, of 6,000 and 1,966."""
    return _from_npz(shared, "imagenette96_train_jpeg.npz", "imagenette96_val_a_jpeg.npz", count, judged, 96)


def _from_npz(shared: Path, train: str, test: str, count: int, judged: int, side: int) -> Data:
    parts = []
    for name, wanted in ((train, count), (test, judged)):
        with np.load(shared / "images" / name, allow_pickle=False) as f:
            labels, total = f["y"].astype(np.int64), len(f["off"]) - 1
        rows = _spread(labels, min(wanted, total))
        x, y = jpegs(shared / "images" / name, rows.tolist())
        parts.append((to_tensor(x, side), y.astype(np.int64)))
    names = np.unique(np.concatenate([p[1] for p in parts]))
    (x, y), (test_x, test_y) = ((p[0], np.searchsorted(names, p[1])) for p in parts)
    return divided(x, y, test_x, test_y, len(names), side)


def _spread(labels: I64, count: int) -> I64:
    """The first count // classes rows of each class (and some more, in order, where that leaves a rest)."""
    order = np.argsort(labels, kind="stable")
    within = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
    return np.sort(order[np.argsort(within, kind="stable")][:count])


def imagenet(root: Path, side: int, held: int, device: str) -> Data:
    """A folder with train/ and val/, class folders in each; images stay in their files. held: training images that
    rank candidates."""
    (paths, y, names), (test, test_y, _) = (class_folders(root / part) for part in ("train", "val"))
    train, judged = Files(paths, side, device), Files(test, side, device)
    return divided(train, y, judged, test_y, len(names), side, share=held / len(y))


def on(images: Images, device: str) -> Images:
    """In the device's memory, where it is a tensor."""
    return images.to(device) if isinstance(images, torch.Tensor) else images


def rows_of(images: Images, rows: I64) -> Images:
    """Those of the images."""
    return images[torch.from_numpy(rows)] if isinstance(images, torch.Tensor) else images.part(rows)


def targets_of(data: Data, rows: I64) -> torch.Tensor:
    """Labels of those training images as targets, float [n, classes]."""
    return one_hot(data.train_y[rows], data.classes)
