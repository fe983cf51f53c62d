"""Data sets in .npz files. The file is hostile: sizes are checked before anything is allocated, pickles are refused."""

from __future__ import annotations

import io
import lzma
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mcuc.data.dataset import MAX_TOTAL_BYTES, Dataset, check_classes, check_images, check_labels, stratified_split
from mcuc.errors import McucError

# The names that people use for the parts, the ones of the documentation first.
TRAIN = (("x", "y"), ("train_x", "train_y"), ("x_train", "y_train"), ("train_images", "train_labels"))
TEST = (("x_test", "y_test"), ("test_x", "test_y"), ("test_images", "test_labels"), ("val_images", "val_labels"))
TEST_FRACTION = 0.2
MAX_MEMBERS = 4096


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]], compression: int = zipfile.ZIP_STORED) -> int:
    """Writes an .npz that depends on the arrays alone: no time stamps. Returns its size in bytes."""
    _write(path, arrays, compression)
    return path.stat().st_size


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """What write_npz writes."""
    blob = io.BytesIO()
    _write(blob, arrays, compression)
    return blob.getvalue()


def _write(target: Path | IO[bytes], arrays: Mapping[str, npt.NDArray[Any]], compression: int) -> None:
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = compression
            archive.writestr(info, stream.getvalue())


def read_arrays(path: Path, max_bytes: int = MAX_TOTAL_BYTES) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an .npz. Raises McucError("bad-npz") unless it is a sound file of plain arrays up to max_bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path, max_bytes)
        with np.load(path, allow_pickle=False) as loaded:
            return {key: np.asarray(loaded[key]) for key in loaded.files}
    except McucError:
        raise
    except FileNotFoundError as error:
        raise McucError("no-such-file", f"no file {path}", where=str(path), try_this="check the path") from error
    except (OSError, EOFError, ValueError, KeyError, NotImplementedError, RuntimeError, MemoryError, SyntaxError,
            OverflowError, TypeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise McucError("bad-npz", f"not a readable .npz of plain arrays ({type(error).__name__}: {str(error)[:120]})",
                        where=str(path), try_this="write it with numpy.savez, without object arrays") from error


def _check_members(archive: zipfile.ZipFile, path: Path, max_bytes: int) -> None:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or total > max_bytes:
        raise McucError("bad-npz", f"{len(members)} arrays of {total} bytes; at most {MAX_MEMBERS} and {max_bytes}",
                        where=str(path), try_this="use fewer or smaller images")
    for member in members:
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise McucError("bad-npz", f"array {member.filename!r} has .npy version {version}", where=str(path),
                                try_this="write it with numpy.savez")
            shape, _, dtype = (np.lib.format.read_array_header_1_0(stream) if version == (1, 0)
                               else np.lib.format.read_array_header_2_0(stream))
            # numpy allocates what the header claims before it reads, so the claim must match the member
            if dtype.hasobject or math.prod(shape) * dtype.itemsize + stream.tell() != member.file_size:
                raise McucError("bad-npz", f"array {member.filename!r} claims shape {shape} of {dtype}, which is not "
                                "what the file holds", where=str(path), try_this="write it with numpy.savez")


def load_npz(path: Path, name: str | None = None, source: str | None = None) -> Dataset:
    """A data set from x, y and, where present, x_test, y_test (other usual names too) and classes.

    Without a test part a seeded fifth of each class becomes it. Raises McucError for anything else.
    """
    arrays = read_arrays(path)
    where = str(path)
    train = next((pair for pair in TRAIN if all(key in arrays for key in pair)), None)
    test = next((pair for pair in TEST if all(key in arrays for key in pair)), None)
    if train is None:
        raise McucError("bad-dataset", f"arrays found: {', '.join(sorted(arrays)) or 'none'}", where=where,
                        try_this="store images as x (uint8 [n, h, w] or [n, h, w, c]) and integer labels as y")
    x = check_images(arrays[train[0]], where)
    y = check_labels(arrays[train[1]], len(x), where)
    if test is not None:
        train_x, train_y = x, y
        test_x = check_images(arrays[test[0]], where)
        test_y = check_labels(arrays[test[1]], len(test_x), where)
        if test_x.shape[1:] != train_x.shape[1:]:
            raise McucError("bad-dataset", f"training images are {train_x.shape[1:]}, test images {test_x.shape[1:]}",
                            where=where, try_this="use one size for all images")
        said = str(path)
    else:
        kept, held = stratified_split(y, TEST_FRACTION)
        train_x, train_y, test_x, test_y = x[kept], y[kept], x[held], y[held]
        said = f"{path}; a seeded {TEST_FRACTION:.0%} of each class held out as the test part"
    classes = tuple(str(c) for c in arrays["classes"].ravel()) if "classes" in arrays else ()
    if not classes:
        values = np.unique(train_y)
        if not np.isin(test_y, values).all():
            raise McucError("bad-dataset", "the test part has labels that the training part lacks", where=where,
                            try_this="give every class training images")
        classes = tuple(str(v) for v in values)
        train_y, test_y = np.searchsorted(values, train_y), np.searchsorted(values, test_y)
    check_classes(train_y, test_y, classes, where)
    return Dataset(name or path.stem, train_x, train_y, test_x, test_y, classes, source or said)
