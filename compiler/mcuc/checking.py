"""What `mcuc check` says: every node, the kernel that it gets, or why not and what to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mcuc import passes
from mcuc.errors import McucError
from mcuc.importers.survey import Survey, survey
from mcuc.ir import Graph
from mcuc.ops._tflite import FULL_INTEGER
from mcuc.schedule import Tiling
from mcuc.schedule.select import select
from mcuc.targets import Board, load_board


@dataclass(frozen=True)
class CheckedNode:
    """One node. kernels: what runs it, none where its output is its input's bytes; why: the reason of that choice;
    problem: empty where it compiles, else what was found, and try_this what to do."""

    name: str
    op: str
    output: str
    kernels: tuple[str, ...] = ()
    why: str = ""
    problem: str = ""
    try_this: str = ""


@dataclass(frozen=True)
class Checked:
    """A model judged for a board's core. nodes: after the passes, with those that were refused in the file's order.
    problems: of the model as a whole. notes: what the passes and the importer have to say of it."""

    model: str
    board: str
    core: str
    nodes: tuple[CheckedNode, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def supported(self) -> bool:
        return not self.problems and not any(n.problem for n in self.nodes)


def check_file(path: Path, board_name: str) -> Checked:
    """Judges all nodes of a model file. Raises McucError for a damaged file or an unknown board."""
    board = load_board(board_name)
    found = survey(path)
    nodes: list[CheckedNode] = []
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if found.graph is not None:
        try:
            graph = passes.optimize(found.graph)
            notes = graph.notes
            nodes = _judged(graph, board)
            problems = () if found.refused or any(n.problem for n in nodes) else _whole(graph)
        except McucError as error:
            problems = () if found.refused else (str(error),)
            nodes = [CheckedNode(n.name, n.op, n.outputs[0], why="not judged") for n in found.graph.nodes]
    merged = _merged(nodes, found)
    if any(n.try_this == FULL_INTEGER for n in merged):  # a dynamic-range model: no node of it can be quantized here
        merged = tuple(replace(n, try_this=n.try_this and FULL_INTEGER) for n in merged)
    return Checked(path.name, board.name, board.chip.core, merged, problems, notes)


def _judged(graph: Graph, board: Board) -> list[CheckedNode]:
    verdicts = passes.verdicts(graph)
    judged = []
    for node, verdict in zip(graph.nodes, verdicts, strict=True):
        row = CheckedNode(node.name, node.op, node.outputs[0])
        try:
            if verdict.problems:
                found = "; ".join(verdict.problems)
                raise McucError(
                    "unsupported",
                    found,
                    where=node.name or node.op,
                    try_this=passes._advice(list(verdict.problems)),
                )
            layer = select(node, graph, board.chip, Tiling())
            kernels = tuple(dict.fromkeys(kernel.id for _, kernel in layer.calls))
            judged.append(CheckedNode(row.name, row.op, row.output, kernels, layer.why))
        except McucError as error:
            judged.append(CheckedNode(row.name, row.op, row.output, problem=error.found, try_this=error.try_this))
    return judged


def _whole(graph: Graph) -> tuple[str, ...]:
    try:
        passes.check_supported(graph)
    except McucError as error:
        return (str(error),)
    return ()


def _merged(nodes: list[CheckedNode], found: Survey) -> tuple[CheckedNode, ...]:
    """Refused operators stand where the file has them; names of imported nodes begin with their position."""
    refused = [
        (r.position, CheckedNode(f"{r.position}:{r.kind}", r.kind, r.output, problem=r.found, try_this=r.try_this))
        for r in found.refused
    ]
    placed = [(_position(n.name), n) for n in nodes]
    last = -1
    ordered = []
    for position, node in placed:
        last = max(last, position)
        ordered.append((last, node))
    return tuple(node for _, node in sorted([*ordered, *refused], key=lambda pair: pair[0]))


def _position(name: str) -> int:
    head = name.split(":", 1)[0]
    return int(head) if head.isdigit() else -1
