"""One network in four forms over the same samples: float, C on the host, exported files, C on the emulated core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcuc.accuracy import predictions, statistics
from mcuc.accuracy.predictions import Comparison, Predictions, answers, compare
from mcuc.accuracy.truth import Truth
from mcuc.emulate import host
from mcuc.emulate.cortex_m import CortexM
from mcuc.errors import McucError
from mcuc.importers.onnx import Port, in_file_order
from mcuc.ir import Array, Graph
from mcuc.plan import Plan
from mcuc.report.types import Accuracy, Column
from mcuc.verify import oracle, outside
from mcuc.verify.compare import emulated

EXPORTED_MACS = 2_000_000_000  # spent on an exported file in its runtime, whose kernels are the slow exact ones
EMULATED_MACS = 60_000_000
EXPORTED_FEWEST, EMULATED_FEWEST, EMULATED_MOST = 16, 2, 16


@dataclass(frozen=True, eq=False)
class Trial:
    """What is judged. x: for each input samples [n, ...] in the graph's integers; real: a sample's inputs as the float
    network takes them, [1, ...] each; outputs: its first output [n, values], and runtime: what computed it; files:
    names and contents of the exported files, .onnx ones with float ends; port: the first output against the float
    network's, None where its order is the same."""

    truth: Truth
    x: tuple[Array, ...]
    real: Callable[[int], Sequence[Array]]
    outputs: Array
    runtime: str
    files: tuple[tuple[str, bytes], ...] = ()
    port: Port | None = None


@dataclass(frozen=True, eq=False)
class Forms:
    """What runs: the graph after all passes, its program on the host, its firmware. macs: of one inference; work: a
    folder for files."""

    graph: Graph
    plan: Plan
    program: host.HostModel
    core: CortexM
    core_name: str
    macs: int
    work: Path


@dataclass(frozen=True, eq=False)
class Ran:
    """Real outputs [rows, values] of one form. whole: the rows are whole groups."""

    name: str
    runtime: str
    rows: Array
    outputs: Array
    whole: bool = True


@dataclass(frozen=True, eq=False)
class Judged:
    """accuracy: for the report; files: for the folder; notes: on what could not be run."""

    accuracy: Accuracy
    files: tuple[tuple[str, bytes], ...]
    notes: tuple[str, ...]


def judge(trial: Trial, forms: Forms) -> Judged:
    """Every form over the samples: float and host over all, the others over as many as are worth their time.

    Raises McucError where the program or the firmware fails; a runtime that refuses an exported file is a note.
    """
    truth, every = trial.truth, np.arange(len(trial.outputs))
    outs = host.run(forms.program, [list(sample) for sample in zip(*trial.x, strict=True)]).outputs[0]
    on_host = Ran("int8", "generated C on the host", every, _real(outs, trial, forms.graph))
    ran, notes = [Ran("float", trial.runtime, every, trial.outputs), on_host], []
    for name, data in trial.files:
        try:
            ran.append(_exported(name, data, trial, forms))
        except McucError as error:
            notes.append(f"{name} was not judged in its own runtime: {error.found}")
    ran.append(_emulated(trial, forms))
    first = answers(truth, every, trial.outputs)
    threshold = statistics.youden(first, truth.expected(every)) if truth.metric == "auc" else None
    step = _step(forms.graph)
    columns = tuple(_column(r, trial, on_host.outputs, step, threshold) for r in ran)
    found = _compared(on_host, trial, threshold)
    assert found is not None
    y = np.zeros(0) if truth.metric == "error" else truth.expected(every)
    kept = {"float": first, "int8": answers(truth, every, on_host.outputs)}
    saved = Predictions(truth.metric, truth.digest, truth.numbers(every), y, kept, threshold)
    flips = truth.metric != "error"
    accuracy = Accuracy(
        found.first,
        found.second,
        len(found.lost) if flips else None,
        len(saved.number),
        len(found.gained) if flips else None,
        found.difference,
        truth.metric,
        found.lost if flips else (),
        columns,
        truth.digest,
        threshold,
    )
    return Judged(accuracy, ((predictions.FILE, predictions.to_bytes(saved)),), tuple(notes))


def _column(ran: Ran, trial: Trial, on_host: Array, step: float, threshold: float | None) -> Column:
    differing = int((np.abs(ran.outputs - on_host[ran.rows]) > step / 2).sum())
    found = _compared(ran, trial, threshold)
    judged = 0 if found is None else len(trial.truth.numbers(ran.rows))
    about = (ran.name, ran.runtime, len(ran.rows), judged, ran.outputs.size)
    if found is None:
        return Column(*about, differing)
    rms = found.rms or (None, None, None)
    if ran.name == "float":
        return Column(*about, None, found.second, rms[1])
    beside = (found.first, len(found.lost), len(found.gained), found.difference)
    return Column(*about, differing, found.second, rms[1], *beside, rms[0], rms[2])


def _compared(ran: Ran, trial: Trial, threshold: float | None) -> Comparison | None:
    """A form beside the float network on the same rows; None where they are no whole groups."""
    if not ran.whole:
        return None
    truth, rows = trial.truth, ran.rows
    pair = answers(truth, rows, trial.outputs[rows]), answers(truth, rows, ran.outputs)
    return compare(truth.metric, truth.numbers(rows), truth.expected(rows), *pair, (threshold, threshold))


def _exported(name: str, data: bytes, trial: Trial, forms: Forms) -> Ran:
    """An exported file in the runtime of its format."""
    rows, whole = chosen(trial.truth, len(trial.outputs), max(EXPORTED_FEWEST, EXPORTED_MACS // forms.macs))
    kind = Path(name).suffix
    if kind == ".onnx":
        found = oracle.onnxruntime(data, [list(trial.real(int(i))) for i in rows])
        outputs = np.stack([f[0] for f in found]).astype(np.float64).reshape(len(rows), -1)
        return Ran(kind, oracle.version("onnxruntime"), rows, outputs, whole)
    path = forms.work / f"judged{kind}"
    path.write_bytes(data)
    source = outside.open_oracle(path, "auto")
    if source.kind == "numpy":  # TFLite Micro is not installed
        source = outside.open_oracle(path, "litert")
    outs = outside.answers(source, forms.graph, [[a[i] for a in trial.x] for i in rows])[0]
    return Ran(kind, source.label, rows, _real(outs, trial, forms.graph), whole)


def _emulated(trial: Trial, forms: Forms) -> Ran:
    most = min(EMULATED_MOST, max(EMULATED_FEWEST, EMULATED_MACS // forms.macs))
    rows, whole = chosen(trial.truth, len(trial.outputs), most)
    outs = [emulated(forms.core, forms.graph, forms.plan, [a[i] for a in trial.x])[0][0] for i in rows]
    return Ran("emulated", f"emulated {forms.core_name}", rows, _real(np.concatenate(outs), trial, forms.graph), whole)


def chosen(truth: Truth, total: int, most: int) -> tuple[Array, bool]:
    """About `most` of `total` samples, evenly spread, and whether they are whole groups, if there are groups."""
    if most >= total:
        return np.arange(total), True
    if truth.group is None:
        return _spread(total, most), True
    names = np.unique(truth.group)
    groups = most * len(names) // total
    if groups == 0:
        return _spread(total, most), False
    return np.flatnonzero(np.isin(truth.group, names[_spread(len(names), groups)])), True


def _spread(total: int, count: int) -> Array:
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))


def _real(outs: Array, trial: Trial, graph: Graph) -> Array:
    """The first output's integers [n, ...] as real numbers [n, values], in the float network's order."""
    quant = graph.tensors[graph.outputs[0]].quant
    ordered = outs if trial.port is None else np.stack([in_file_order(trial.port, o) for o in outs])
    flat = ordered.reshape(len(outs), -1).astype(np.float64)
    return flat if quant is None else (flat - quant.zero_point[0]) * quant.scale[0]


def _step(graph: Graph) -> float:
    quant = graph.tensors[graph.outputs[0]].quant
    return 1.0 if quant is None else quant.scale[0]
