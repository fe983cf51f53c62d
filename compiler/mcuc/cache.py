"""The user's cache folder: small results by content key, and C helpers compiled once. All writes are atomic."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC")


def folder() -> Path:
    """$XDG_CACHE_HOME/mcuc or ~/.cache/mcuc; a private temporary folder where neither can be written."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    home = Path(chosen) if chosen else Path.home() / ".cache"
    user = os.getuid() if hasattr(os, "getuid") else 0
    for place in (home / "mcuc", Path(tempfile.gettempdir()) / f"mcuc-{user}"):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A folder that someone else may write to could hold a library that is not ours.
            if os.access(place, os.W_OK) and (not hasattr(os, "getuid") or place.stat().st_uid == user):
                return place
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="mcuc-"))


def read_json(kind: str, key: str) -> Any | None:
    """What write_json kept under that key; None when there is nothing, or nothing readable."""
    try:
        return json.loads((folder() / kind / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(kind: str, key: str, value: Any) -> None:
    """Keeps a JSON value. A cache that cannot be written is no error: the value is computed again next time."""
    try:
        (folder() / kind).mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder() / kind)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(name, folder() / kind / f"{key}.json")
    except OSError:
        return


def shared_library(name: str, source: bytes) -> ctypes.CDLL | None:
    """A C source compiled by the first compiler that works (cc, gcc, clang, zig) and loaded; None when none does."""
    tag = hashlib.sha256(source + " ".join(_FLAGS).encode()).hexdigest()[:16]
    target = folder() / f"{name}-{platform.system()}-{platform.machine()}-{tag}.so"
    try:
        if not target.exists() and not _compile(name, source, target):
            return None
        return ctypes.CDLL(str(target))
    except OSError:
        return None


def _compile(name: str, source: bytes, target: Path) -> bool:
    compilers = [[path] for c in ("cc", "gcc", "clang") if (path := shutil.which(c))]
    with tempfile.TemporaryDirectory(dir=target.parent) as place:
        c, so = Path(place, f"{name}.c"), Path(place, f"{name}.so")
        c.write_bytes(source)
        for compiler in [*compilers, [sys.executable, "-m", "ziglang", "cc"]]:
            try:
                done = subprocess.run(
                    [*compiler, *_FLAGS, "-o", str(so), str(c)], capture_output=True, timeout=120, check=False
                )
            except (OSError, subprocess.TimeoutExpired):
                continue
            if done.returncode == 0 and so.exists():
                os.replace(so, target)  # several processes may compile at once
                return True
    return False
