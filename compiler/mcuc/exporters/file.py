"""An int8 graph as a file, by the file's ending."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcuc.errors import McucError
from mcuc.exporters import onnx, tflite
from mcuc.exporters._names import with_end_names
from mcuc.exporters._onnx_writer import outside_shape
from mcuc.importers.onnx import Port
from mcuc.ir import Graph, Quant
from mcuc.quantize.retarget import retarget

ENDINGS = (".tflite", ".onnx")


def check_target(path: Path) -> None:
    """Raises McucError for a file that could not be written: unknown-format, no-such-folder."""
    if path.suffix.lower() not in ENDINGS:
        raise McucError(
            "unknown-format",
            f"cannot tell the format to write by the ending {path.suffix!r}",
            where=str(path),
            try_this="name a .tflite or .onnx file",
        )
    if not path.parent.is_dir():
        raise McucError(
            "no-such-folder", f"there is no folder {path.parent}", where=str(path), try_this="make it, or name another"
        )


def named_ends(graph: Graph, ports: Sequence[Port] = ()) -> Graph:
    """The graph with its inputs and outputs named as the file's. ports: of an ONNX file; a .tflite file's are the
    tensors' own, but for the shift of uint8."""
    names = {n: n.removesuffix("/uint8") for n in (*graph.inputs, *graph.outputs)}
    return with_end_names(graph, {**names, **{p.name: p.file_name for p in ports}})


@dataclass(frozen=True)
class End:
    """An input or output of an exported file; quant: real = scale * (integer - zero point), None where it is float."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    quant: Quant | None


@dataclass(frozen=True)
class ExportedFile:
    """What was written. size: bytes."""

    path: Path
    size: int
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]


def ends_of(graph: Graph, path: Path, size: int, float_ends: bool, ports: Sequence[Port] = ()) -> ExportedFile:
    """The file's inputs and outputs, images in an .onnx file channels first. ports: of a file written without the
    graph, which has types of its own."""
    given = {p.file_name: p for p in ports}

    def end(name: str) -> End:
        tensor, port = graph.tensors[name], given.get(name)
        real = float_ends and tensor.quant is not None
        shape = outside_shape(tensor.shape) if path.suffix.lower() == ".onnx" else tensor.shape
        dtype = tensor.dtype.value if port is None or tensor.quant is not None else port.file_dtype
        return End(
            name,
            "float32" if real else dtype,
            tuple(shape if port is None else port.file_shape),
            None if real else tensor.quant,
        )

    return ExportedFile(path, size, tuple(map(end, graph.inputs)), tuple(map(end, graph.outputs)))


def export_graph(
    graph: Graph, path: Path, style: Literal["qdq", "qoperator"] = "qdq", float_ends: bool = False
) -> bytes:
    """The bytes of a .tflite or .onnx file. A network of the other format's profile is rounded by this one's runtime,
    so elements can differ by a step. Raises McucError: unknown-format, not-exportable."""
    check_target(path)
    if path.suffix.lower() == ".tflite":
        return tflite.export(graph if graph.profile == "tflite" else retarget(graph), float_ends)
    return onnx.export(graph, style, float_ends)
