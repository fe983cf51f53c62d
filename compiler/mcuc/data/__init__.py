"""Data sets: a folder of class folders of images, an .npz, or the name of a bundled one."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from mcuc.data.dataset import Dataset, resize, stratified_split
from mcuc.data.folder import load_folder
from mcuc.data.npz import load_npz
from mcuc.errors import McucError

__all__ = ["BUNDLED", "DEFAULT", "Dataset", "load", "resize", "stratified_split"]

DEFAULT = "fashion-mnist"
# name -> (file, source)
BUNDLED = {
    "fashion-mnist": ("fashion_mnist_12k.npz",
                      "Fashion-MNIST (Zalando SE, MIT licence): a seeded, class-balanced sample of 10,000 images of "
                      "its training part and 2,000 of its test part"),
}


def load(spec: str | Path | None = None) -> Dataset:
    """The data set that spec names: None for the default, a bundled name, an .npz file, or a folder of class folders.

    Raises McucError("no-such-data") when it is none of these, and others for files that cannot be used.
    """
    name = DEFAULT if spec is None else spec
    if isinstance(name, str) and name in BUNDLED:
        file, source = BUNDLED[name]
        with resources.as_file(resources.files(__name__) / file) as path:
            return load_npz(path, name, source)
    path = Path(name)
    try:
        if path.is_dir():
            return load_folder(path)
        if path.is_file():
            return load_npz(path)
    except (OSError, ValueError) as error:  # a path too long or with a NUL, a folder without permission
        raise McucError("no-such-data", f"cannot read it ({str(error)[:100]})", where=str(path)[:200],
                        try_this="check the path and its permissions") from error
    raise McucError("no-such-data", "no such file, folder or bundled data set", where=str(path)[:200],
                    try_this=f"bundled: {', '.join(sorted(BUNDLED))}; or give a folder of class folders or an .npz")
