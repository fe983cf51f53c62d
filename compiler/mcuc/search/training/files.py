"""Images that stay in files: decoded when a batch asks for them, for data that no memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mcuc.data.dataset import I64, U8, resize
from mcuc.data.folder import centre_square, class_names, decoded, files_of
from mcuc.errors import McucError

THREADS = 16
MAX_FILES = 1 << 24  # ImageNet has 1,281,167; nothing but paths and labels is held


class Files:
    """Image files as uint8 [n, 3, side, side]: centre squares, resized when they are asked for (see augment.Images)."""

    def __init__(self, paths: Sequence[Path], side: int, device: str = "cpu", threads: int = THREADS) -> None:
        self.paths, self.side, self.device = list(paths), side, device
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which has threads of its own."""
        return {**self.__dict__, "_pool": None}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: torch.Tensor, /) -> torch.Tensor:
        self._pool = self._pool or ThreadPoolExecutor(self.threads)
        found = list(self._pool.map(self._read, rows.tolist()))
        return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous().to(self.device)

    def part(self, rows: Sequence[int]) -> Files:
        """Those of the files."""
        return Files([self.paths[i] for i in rows], self.side, self.device, self.threads)

    def _read(self, row: int) -> U8:
        square = centre_square(decoded(self.paths[row], 3))
        return np.asarray(resize(square[None], self.side, self.side)[0], np.uint8)


def class_folders(root: Path) -> tuple[list[Path], I64, tuple[str, ...]]:
    """Paths, labels int64 [n] and names of a folder of class folders, in the order of names. Raises
    McucError("bad-dataset") where there are no two classes, or no images."""
    names = class_names(root)
    found = files_of(root, names, MAX_FILES)
    if len(names) < 2 or not found:
        raise McucError("bad-dataset", f"{len(found)} images in {len(names)} class folders", where=str(root),
                        try_this="one folder for each class with image files inside")  # fmt: skip
    return [path for path, _ in found], np.array([label for _, label in found], np.int64), names
