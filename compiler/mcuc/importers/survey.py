"""Every operator of a model file judged on its own, where `load` stops at the first that it must refuse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcuc.errors import McucError
from mcuc.importers import _onnx_proto as proto
from mcuc.importers import load, tflite
from mcuc.importers._flatbuffer import read
from mcuc.importers._onnx_fold import can_fold
from mcuc.ir import Graph, check

REPLACE = "express it with operators that `mcuc ops` lists, or leave it to the caller where it is first or last"


@dataclass(frozen=True)
class Refused:
    """An operator that cannot be imported. position: in the file's order; output: its first output tensor."""

    position: int
    kind: str
    output: str
    found: str
    try_this: str


@dataclass(frozen=True, eq=False)
class Survey:
    """graph: of the operators that can be imported, what the others compute standing as inputs; None where there is
    no such graph. whole: it is the graph that `load` gives.
    operators: how many the file has, 0 where that is not known.
    """

    graph: Graph | None
    refused: tuple[Refused, ...]
    operators: int = 0

    @property
    def whole(self) -> bool:
        return not self.refused


def survey(path: Path) -> Survey:
    """What of the file can be imported. Raises McucError for a file that is damaged as a whole or is no model."""
    try:
        return Survey(load(path), ())
    except McucError as error:
        if error.code in ("no-model", "unknown-format", "unreadable-file"):
            raise
        found = _tflite(path) if path.suffix.lower() == ".tflite" else _onnx(path)
        if not found.refused:  # every operator is fine alone: the file as a whole is at fault
            raise
        return found


def _tflite(path: Path) -> Survey:
    file = read(path.read_bytes(), str(path))
    reading = tflite._Reading(file, str(path), tflite._unique_names([t.name for t in file.tensors]))
    refused = []
    for position, operator in enumerate(file.operators):
        outputs = [reading.names[i] for i in operator.outputs if 0 <= i < len(reading.names)]
        try:
            tflite._node(reading, position, operator)
        except McucError as error:
            advice = error.try_this if "mcuc check" not in error.try_this else REPLACE
            refused.append(Refused(position, operator.kind, outputs[0] if outputs else "", error.found, advice))
        except tflite._MISFITS as error:
            refused.append(
                Refused(
                    position,
                    operator.kind,
                    outputs[0] if outputs else "",
                    f"its tables do not fit together ({type(error).__name__}: {error})",
                    "check that the model file is complete",
                )
            )
    return Survey(_rest(reading, path.stem), tuple(refused), len(file.operators))


def _rest(reading: tflite._Reading, name: str) -> Graph | None:
    """The imported operators as a graph of their own: unknown values come in, values that nobody reads go out."""
    table = {t.name: t for t in reading.tensors.values()} | reading.constants | reading.states.made
    computed = {n for node in reading.nodes for n in node.outputs}
    wanted = dict.fromkeys(n for node in reading.nodes for n in node.inputs if n)
    inputs = tuple(n for n in wanted if n not in computed and table[n].data is None)
    outputs = tuple(n for node in reading.nodes for n in node.outputs if n not in wanted)
    used = {*inputs, *outputs, *wanted, *computed}
    graph = Graph(name, "tflite", {k: v for k, v in table.items() if k in used}, tuple(reading.nodes), inputs, outputs)
    try:
        return check(graph) if reading.nodes else None
    except McucError:
        return None


def _onnx(path: Path) -> Survey:
    """Operators that no handler knows; those behind them are not judged, because their inputs are unknown."""
    from mcuc.importers import onnx

    file = proto.read(path.read_bytes(), str(path), path.parent)
    refused = []
    for position, node in enumerate(file.nodes):
        known = node.kind in (onnx.MICROSOFT if node.domain else onnx.HANDLERS)
        if not known and not (can_fold(node.kind) and not node.domain):
            error = onnx._unsupported(node)
            advice = error.try_this if "mcuc check" not in error.try_this else REPLACE
            refused.append(Refused(position, node.kind, next(iter(node.outputs), ""), error.found, advice))
    return Survey(None, tuple(refused), len(file.nodes))
