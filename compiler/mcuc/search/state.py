"""Saved state: .npz and .json, written atomically, never pickled. A killed run goes on from the last whole file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcuc.data.dataset import Dataset
from mcuc.data.npz import read_arrays, write_npz
from mcuc.errors import McucError

Arrays = Mapping[str, npt.NDArray[Any]]


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Writes beside the target, then renames: a reader sees the old file or the new one."""
    _replace(path, lambda part: write_npz(part, arrays))


def save_json(path: Path, value: Any) -> None:
    """As save_arrays, for JSON with sorted keys."""
    _replace(path, lambda part: part.write_text(json.dumps(value, sort_keys=True) + "\n"))


def _replace(path: Path, write: Callable[[Path], int]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except OSError as error:
        raise McucError("cannot-write", f"cannot save the search's state ({error.strerror})", where=str(path),
                        try_this="free disk space or choose another work folder") from error


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """The saved arrays; None when there are none yet. Raises McucError("bad-state") for a broken file."""
    if not path.exists():
        return None
    try:
        return read_arrays(path)
    except McucError as error:
        raise _broken(path, error) from error


def load_json(path: Path) -> Any:
    """The saved value; None when there is none yet. Raises McucError("bad-state") for a broken file."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> McucError:
    return McucError("bad-state", f"the saved state is not readable ({type(error).__name__})", where=str(path),
                     try_this="delete this file to repeat that stage")


def fingerprint(dataset: Dataset, settings: Mapping[str, Any]) -> str:
    """16 hex digits over the data and everything that decides the result."""
    digest = hashlib.sha256()
    for array in (dataset.train_x, dataset.train_y, dataset.test_x, dataset.test_y):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update(json.dumps([dataset.classes, settings], sort_keys=True).encode())
    return digest.hexdigest()[:16]
