"""Data sets in folders: one folder per class, image files inside; optionally train/ and test/ (or val/) above them."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.data.dataset import I64, MAX_TOTAL_BYTES, U8, Dataset, check_classes, resize, stratified_split
from mcuc.data.npz import TEST_FRACTION
from mcuc.errors import McucError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
MAX_FILES = 200_000
MAX_FILE_BYTES = 32 << 20
MAX_PIXELS = 32 << 20
LARGEST_SIDE = 96
GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")

Files = list[tuple[Path, int]]


def load_folder(root: Path, side: int | None = None) -> Dataset:
    """Images of class folders as centre-cropped squares.

    side: pixels a side; by default the median short side, at most 96 (what a microcontroller's SRAM can hold).
    All-grey data stays one channel. Without train/ and test/ a seeded fifth of each class becomes the test part.
    Raises McucError naming the file that cannot be read, and for empty or oversized data.
    """
    parts = {p.name: p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")}
    test_name = next((n for n in ("test", "val") if n in parts), None)
    if "train" in parts and test_name is not None:
        classes = class_names(parts["train"])
        train = files_of(parts["train"], classes)
        test = files_of(parts[test_name], classes)
        said = f"{root}, its train and {test_name} folders"
    else:
        classes = class_names(root)
        both = files_of(root, classes)
        labels = np.array([label for _, label in both], np.int64)
        if len(classes) < 2 or not both:
            raise McucError("bad-dataset", f"{len(both)} images in {len(classes)} class folders", where=str(root),
                            try_this="make one folder per class with .png or .jpg images inside")
        kept, held = stratified_split(labels, TEST_FRACTION)
        train, test = [both[i] for i in kept], [both[i] for i in held]
        said = f"{root}; a seeded {TEST_FRACTION:.0%} of each class held out as the test part"
    if not train or not test:
        raise McucError("bad-dataset", f"{len(train)} training and {len(test)} test images", where=str(root),
                        try_this="put images into the class folders of both parts")
    sizes, channels = _survey([path for path, _ in train + test])
    pixels = side or max(8, min(LARGEST_SIDE, int(np.median(sizes))))
    if pixels * pixels * channels * (len(train) + len(test)) > MAX_TOTAL_BYTES:
        raise McucError("bad-dataset", f"{len(train) + len(test)} images of {pixels}x{pixels}x{channels} exceed "
                        f"{MAX_TOTAL_BYTES} bytes", where=str(root), try_this="use fewer or smaller images")
    train_x, train_y = _read_part(train, pixels, channels)
    test_x, test_y = _read_part(test, pixels, channels)
    check_classes(train_y, test_y, classes, str(root))
    return Dataset(root.resolve().name, train_x, train_y, test_x, test_y, classes, said)


def class_names(root: Path) -> tuple[str, ...]:
    """Names of the class folders, in order; hidden ones are none."""
    return tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))


def files_of(root: Path, classes: tuple[str, ...], most: int = MAX_FILES) -> Files:
    """Image files of the class folders with their labels, indices of classes, in the order of names. Raises
    McucError("bad-dataset") for a folder that is not among the classes, or more files than `most`."""
    found: Files = []
    for label, name in enumerate(classes):
        folder = root / name
        if folder.is_dir():
            found.extend((p, label) for p in sorted(folder.iterdir())
                         if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    extra = [n for n in class_names(root) if n not in classes]
    if extra:
        raise McucError("bad-dataset", f"class folder {extra[0]!r} has no counterpart in the training part",
                        where=str(root), try_this="use the same class folders in both parts")
    if len(found) > most:
        raise McucError("bad-dataset", f"{len(found)} images, the limit is {most}", where=str(root),
                        try_this="use a sample of them")
    return found


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise McucError("missing-dependency", "Pillow is needed to read image files",
                        where="a folder of images",
                        try_this="pip install pillow, or give the data as .npz") from error
    return Image


def _open(path: Path) -> Any:
    """An opened, not yet decoded image whose claimed size is sane."""
    module = _pillow()
    try:
        if not path.is_file():
            raise OSError("not a regular file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise OSError(f"larger than {MAX_FILE_BYTES} bytes")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = module.open(path, formats=FORMATS)
    except Exception as error:  # Pillow's decoders raise many types on hostile files
        raise _unreadable(path, error) from error
    if min(image.size) < 1 or image.size[0] * image.size[1] > MAX_PIXELS:
        image.close()
        raise _unreadable(path, ValueError(f"{image.size[0]}x{image.size[1]} pixels, the limit is {MAX_PIXELS} in all"))
    return image


def _unreadable(path: Path, error: Exception) -> McucError:
    said = str(error).replace(str(path), path.name)[:120]
    return McucError("bad-image", f"cannot read this image ({type(error).__name__}: {said})", where=str(path),
                     try_this="repair or remove this file")


def _survey(paths: list[Path]) -> tuple[list[int], int]:
    """The short side of each image, and 1 or 3 channels for all."""
    sizes, grey = [], True
    for path in paths:
        with _open(path) as image:
            sizes.append(min(image.size))
            grey = grey and image.mode in GREY_MODES
    return sizes, 1 if grey else 3


def _read_part(files: Files, side: int, channels: int) -> tuple[U8, I64]:
    """uint8 [n, side, side, channels] and int64 labels [n]."""
    out = np.empty((len(files), side, side, channels), np.uint8)
    for index, (path, _) in enumerate(files):
        out[index] = resize(centre_square(decoded(path, channels))[None], side, side)[0]
    return out, np.array([label for _, label in files], np.int64)


def decoded(path: Path, channels: int) -> U8:
    """uint8 [h, w, channels], 1 or 3 of them. Raises McucError("bad-image")."""
    with _open(path) as image:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                pixels = np.asarray(_eight_bits(image).convert("L" if channels == 1 else "RGB"), np.uint8)
        except (Exception, struct.error) as error:
            raise _unreadable(path, error) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _eight_bits(image: Any) -> Any:
    """16-bit grey scaled to 8 bits: Pillow's own conversion clips it to white."""
    if image.mode not in ("I", "I;16"):
        return image
    return _pillow().fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))


def centre_square(pixels: U8) -> U8:
    """The largest square in the middle of [h, w, c]."""
    h, w = pixels.shape[:2]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    return pixels[top:top + side, left:left + side]
