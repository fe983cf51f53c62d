"""The data set type, its checks and the resize that every part shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcuc.errors import McucError

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

MAX_SIDE = 1024
MAX_TOTAL_BYTES = 2 << 30
MIN_PER_CLASS = 2


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images. x: uint8 [n, h, w, c], c is 1 or 3; y: int64 [n], indices into classes.

    source says where it came from and, where this package chose the split, how.
    """

    name: str
    train_x: U8
    train_y: I64
    test_x: U8
    test_y: I64
    classes: tuple[str, ...]
    source: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        h, w, c = self.train_x.shape[1:]
        return h, w, c


def check_images(x: npt.NDArray[np.generic], where: str) -> U8:
    """x as uint8 [n, h, w, c]; [n, h, w] gains a channel axis. Raises McucError("bad-dataset") otherwise."""
    if x.dtype != np.uint8:
        raise McucError("bad-dataset", f"images are {x.dtype}, uint8 is needed", where=where,
                        try_this="store pixels as 0..255 in uint8")
    images = x[..., None] if x.ndim == 3 else x
    if images.ndim != 4 or images.shape[0] == 0 or images.shape[3] not in (1, 3):
        raise McucError("bad-dataset", f"images have shape {x.shape}", where=where,
                        try_this="use [n, h, w], [n, h, w, 1] or [n, h, w, 3] with n > 0")
    if min(images.shape[1:3]) < 8 or max(images.shape[1:3]) > MAX_SIDE:
        raise McucError("bad-dataset", f"images are {images.shape[1]}x{images.shape[2]} pixels", where=where,
                        try_this=f"use images of 8 to {MAX_SIDE} pixels a side")
    return np.ascontiguousarray(images, dtype=np.uint8)


def check_labels(y: npt.NDArray[np.generic], count: int, where: str) -> I64:
    """y as int64 [count]; [count, 1] is flattened. Raises McucError("bad-dataset") otherwise."""
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if labels.ndim != 1 or len(labels) != count or labels.dtype.kind not in "iu":
        raise McucError("bad-dataset", f"labels are {y.dtype}{y.shape} for {count} images", where=where,
                        try_this="give one integer label per image")
    return labels.astype(np.int64)


def check_classes(train_y: I64, test_y: I64, classes: Sequence[str], where: str) -> None:
    """At least two classes, two training images for each, and no label outside them."""
    if len(classes) < 2:
        raise McucError("bad-dataset", f"{len(classes)} class found", where=where, try_this="give at least two classes")
    for part in (train_y, test_y):
        if part.min() < 0 or part.max() >= len(classes):
            raise McucError("bad-dataset", f"label {int(part.max())} is outside the {len(classes)} classes",
                            where=where, try_this="number the labels from 0 and give every class training images")
    counts = np.bincount(train_y, minlength=len(classes))
    if counts.min() < MIN_PER_CLASS:
        raise McucError("bad-dataset", f"class {classes[int(counts.argmin())]!r} has {counts.min()} training images",
                        where=where, try_this=f"give every class {MIN_PER_CLASS} training images, or leave it out")


def stratified_split(y: I64, fraction: float, seed: int = 0) -> tuple[I64, I64]:
    """Seeded split, class by class: (kept, held out) sorted indices; each class keeps at least one image.

    fraction: share of each class that is held out, rounded to the nearest image, at least one where a class has two.
    """
    rng = np.random.default_rng(seed)
    kept: list[I64] = []
    held: list[I64] = []
    for label in np.unique(y):
        order = rng.permutation(np.flatnonzero(y == label))
        take = min(max(1, round(len(order) * fraction)), len(order) - 1)
        held.append(order[:take])
        kept.append(order[take:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


def resize(images: U8, height: int, width: int) -> U8:
    """Antialiased bilinear resize (triangle filter, half-pixel centres) of uint8 [n, h, w, c].

    The filter weights are integers (14 bits), so the bytes are the same on every machine.
    """
    if images.shape[1:3] == (height, width):
        return images
    rows, columns = resize_matrix(images.shape[1], height), resize_matrix(images.shape[2], width)
    out = np.empty((len(images), height, width, images.shape[3]), np.uint8)
    for start in range(0, len(images), 256):
        part = images[start:start + 256].astype(np.float64)  # exact: every sum is an integer below 2^53
        summed = np.einsum("yh,nhwc,xw->nyxc", rows, part, columns, optimize=True)
        out[start:start + 256] = np.clip(np.floor(summed / 2.0**28 + 0.5), 0, 255).astype(np.uint8)
    return out


def resize_matrix(size: int, target: int) -> npt.NDArray[np.float64]:
    """[target, size] weights of resize() along one axis: integers, each row summing to 2^14."""
    scale = size / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(size)[None, :] + 0.5 - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distance / support)
    weights = np.rint(weights / weights.sum(1, keepdims=True) * 2.0**14)
    weights[np.arange(target), weights.argmax(1)] += 2.0**14 - weights.sum(1)
    return np.asarray(weights, np.float64)
