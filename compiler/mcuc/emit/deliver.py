"""The output folder: written aside and put in place in one step, never over a folder that is not ours."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcuc.errors import McucError

GENERATOR = "mcuc"


def check_ours(out: Path) -> None:
    """Raises McucError when out exists and mcuc did not write it (foreign-folder) or not all in it (foreign-files)."""
    if not out.exists() and not out.is_symlink():
        return
    if out.is_dir() and not any(out.iterdir()):
        return
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        ours = isinstance(manifest, dict) and manifest.get("generator") == GENERATOR
        written = {"manifest.json", *manifest["files"]} if ours else set()
    except (OSError, ValueError, KeyError, TypeError):
        ours, written = False, set()
    if not ours:
        raise McucError(
            "foreign-folder",
            f"{out} exists and was not written by mcuc",
            where=str(out),
            try_this="name another folder with -o, or remove this one",
        )
    foreign = sorted(p.name for p in out.iterdir() if p.name not in written or not p.is_file())
    if foreign:
        raise McucError(
            "foreign-files",
            f"{out} holds {len(foreign)} files or folders that mcuc did not write, for example {foreign[0]!r}",
            where=str(out / foreign[0]),
            try_this="move your own files elsewhere, or name another folder with -o",
        )


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A folder beside out to write into; it replaces out when the block ends well and vanishes when it does not.

    Raises McucError: foreign-folder; disk-full and write-failed for what the system refuses.
    """
    check_ours(out)
    with os_errors(out):
        parent = out.absolute().parent
        parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    try:
        with os_errors(out):
            yield stage
            stage.chmod(0o755)
            _replace(stage, out.absolute())
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(stage: Path, out: Path) -> None:
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
        os.replace(out, old / "old")
        try:
            os.replace(stage, out)
        except OSError:
            os.replace(old / "old", out)  # the last good output stays; where even this fails, it stays in `old`
            old.rmdir()
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(stage, out)


@contextmanager
def os_errors(where: Path, doing: str = "write") -> Iterator[None]:
    """Turns errors of the file system into McucError. doing: what was tried, "read" or "write"."""
    try:
        yield
    except OSError as error:
        place = str(error.filename or where)
        if f"{os.sep}.{where.name}." in place:  # of staging
            place = str(where)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise McucError(
                "disk-full",
                f"the disk is full ({error.strerror})",
                where=place,
                try_this="free some space, or write to another disk with -o",
            ) from error
        raise McucError(
            f"{doing}-failed",
            f"cannot {doing}: {error.strerror or error}",
            where=place,
            try_this="check the path and its permissions"
            + (", or name another folder with -o" if doing == "write" else ""),
        ) from error
