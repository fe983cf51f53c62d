"""Model files -> Graph, by the file's content and ending."""

from __future__ import annotations

from pathlib import Path

from mcuc.errors import McucError
from mcuc.ir import Graph

PROFILES = {".tflite": "tflite", ".onnx": "onnx"}


def load(path: Path, profile: str | None = None) -> Graph:
    """The graph of a .tflite or .onnx file. profile: None for the format's own rounding rules.

    Raises McucError: no-model, unknown-format, bad-profile, and what the importers raise.
    """
    if not path.is_file():
        raise McucError(
            "no-model",
            f"{path} is {'a folder' if path.is_dir() else 'not a regular file' if path.exists() else 'missing'}",
            where=str(path),
            try_this="name a .tflite or .onnx file",
        )
    kind = path.suffix.lower()
    if kind not in PROFILES:
        raise McucError(
            "unknown-format",
            f"cannot tell the format of {path.name} by its ending {kind!r}",
            where=str(path),
            try_this="name a .tflite or .onnx file",
        )
    if profile not in (None, PROFILES[kind]):
        raise McucError(
            "bad-profile",
            f"profile {profile!r} does not fit a {kind} file",
            where=str(path),
            try_this=f"leave --profile out, or use {PROFILES[kind]}",
        )
    if kind == ".tflite":
        from mcuc.importers import tflite

        return tflite.load(path)
    from mcuc.importers import onnx

    return onnx.load(path)
