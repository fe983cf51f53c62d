"""An int8 graph as a file, by the file's ending."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mcuc.errors import McucError
from mcuc.exporters import onnx, tflite
from mcuc.ir import Graph
from mcuc.quantize.retarget import retarget


def export_graph(
    graph: Graph, path: Path, style: Literal["qdq", "qoperator"] = "qdq", float_ends: bool = False
) -> bytes:
    """The bytes of a .tflite or .onnx file. A network of the other format's profile is rounded by this one's runtime,
    so elements can differ by a step. Raises McucError: unknown-format, not-exportable."""
    kind = path.suffix.lower()
    if kind == ".tflite":
        return tflite.export(graph if graph.profile == "tflite" else retarget(graph), float_ends)
    if kind == ".onnx":
        return onnx.export(graph, style, float_ends)
    raise McucError(
        "unknown-format",
        f"cannot tell the format to write by the ending {kind!r}",
        where=str(path),
        try_this="name a .tflite or .onnx file",
    )
