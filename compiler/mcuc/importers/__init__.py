"""Model files -> Graph, by the file's content and ending."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcuc.errors import McucError
from mcuc.ir import Graph

if TYPE_CHECKING:
    from mcuc.importers.onnx import Port

PROFILES = {".tflite": "tflite", ".onnx": "onnx"}


def load_with_ports(path: Path) -> tuple[Graph, tuple[Port, ...]]:
    """As load; and how an ONNX file's inputs and outputs relate to the graph's, () for a .tflite file."""
    if path.suffix.lower() != ".onnx" or not path.is_file():
        return load(path), ()
    from mcuc.importers import onnx

    graph, ends = onnx.parse_with_interface(path.read_bytes(), str(path), path.stem, path.parent)
    return graph, (*ends.inputs, *ends.outputs)


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
