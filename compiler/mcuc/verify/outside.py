"""A model file run by its own runtime, samples and answers in the integers of the compiled graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from mcuc.errors import McucError
from mcuc.importers import load
from mcuc.ir import Array, DType, Graph, Tensor
from mcuc.ops._tflite import BEYOND_MICRO
from mcuc.verify import oracle
from mcuc.verify.compare import Outputs, expected

OracleName = Literal["auto", "numpy", "tflite-micro", "litert", "onnxruntime"]
_FITS = {".tflite": ("numpy", "tflite-micro", "litert"), ".onnx": ("numpy", "onnxruntime")}


@dataclass(frozen=True, eq=False)
class Oracle:
    """What a model file's answers come from. file_graph: as imported, before any pass."""

    kind: str
    label: str
    path: Path
    file_graph: Graph


def open_oracle(path: Path, wanted: OracleName) -> Oracle:
    """auto: the file format's own runtime (TFLite Micro, or LiteRT's reference kernels for uint8 models and for what
    TFLite Micro lacks; ONNX Runtime), the NumPy reference where it is not installed. Raises McucError("wrong-oracle")
    where it cannot read the format."""
    graph = load(path)
    suffix = path.suffix.lower()
    if wanted != "auto" and wanted not in _FITS[suffix]:
        raise McucError(
            "wrong-oracle",
            f"{wanted} cannot run a {suffix} file",
            where="--oracle",
            try_this=f"one of {', '.join(_FITS[suffix])}",
        )
    kind = _automatic(suffix, graph) if wanted == "auto" else wanted
    if kind == "numpy":
        return Oracle(kind, "NumPy integer reference of the file's graph", path, graph)
    return Oracle(
        kind,
        oracle.version({"tflite-micro": "tflite_micro", "litert": "litert_reference"}.get(kind, kind)),
        path,
        graph,
    )


def _automatic(suffix: str, graph: Graph) -> str:
    if suffix == ".onnx":
        return "onnxruntime"
    unsigned = any(t.dtype is DType.UINT8 for t in graph.tensors.values()) and not graph.states
    if unsigned or any(BEYOND_MICRO in n for n in graph.notes):
        return "litert"
    return "tflite-micro" if find_spec("tflite_micro") else "numpy"


def answers(source: Oracle, graph: Graph, samples: Sequence[Sequence[Array]], alone: bool = False) -> Outputs:
    """The oracle's outputs for the compiled graph's samples, in the compiled graph's integers, stacked per output.

    A model with states takes the samples as one sequence; alone: each as a sequence of its own.

    Raises McucError: oracle-missing, oracle-failed, oracle-crashed, oracle-timeout.
    """
    if alone:
        each = [answers(source, graph, [sample]) for sample in samples]
        return tuple(np.concatenate(parts) for parts in zip(*each, strict=True))
    if source.kind == "onnxruntime":
        return _onnx(source, samples)
    fed = [
        [
            _real(a, graph.tensors[n], source.file_graph.tensors[f])
            for a, n, f in zip(sample, graph.inputs, source.file_graph.inputs, strict=True)
        ]
        for sample in samples
    ]
    if source.kind == "numpy":
        found = expected(source.file_graph, fed)
    else:
        raw, keep = source.path.read_bytes(), bool(source.file_graph.states)
        micro = source.kind == "tflite-micro"
        results = oracle.tflite_micro(raw, fed, keep_state=keep) if micro else oracle.litert_reference(raw, fed)
        found = tuple(np.stack([r[i] for r in results]) for i in range(len(graph.outputs)))
    return tuple(_steps(a, graph.tensors[n]) for a, n in zip(found, graph.outputs, strict=True))


def _onnx(source: Oracle, samples: Sequence[Sequence[Array]]) -> Outputs:
    from mcuc.importers import onnx

    raw = source.path.read_bytes()
    _, ends = onnx.parse_with_interface(raw, str(source.path), source.path.stem, source.path.parent)
    fed = [[onnx.to_file(port, a) for a, port in zip(sample, ends.inputs, strict=True)] for sample in samples]
    results = oracle.onnxruntime(raw, fed)
    return tuple(np.stack([onnx.from_file(port, r[i]) for r in results]) for i, port in enumerate(ends.outputs))


def _real(x: Array, tensor: Tensor, in_file: Tensor) -> Array:
    """A sample as the file takes it: floats where the file's input is float. The runtime rounds them back to the same
    integers: each is the float nearest to scale * (x - zero point)."""
    if in_file.dtype is not DType.FLOAT32 or tensor.dtype is DType.FLOAT32:
        return x.reshape(in_file.shape)
    assert tensor.quant is not None
    steps = x.astype(np.float64) - tensor.quant.zero_point[0]
    return (steps * tensor.quant.scale[0]).astype(np.float32).reshape(in_file.shape)


def _steps(y: Array, tensor: Tensor) -> Array:
    """Stacked outputs as the compiled graph's integers; a float output is scale * (y - zero point) of one of them."""
    shaped = y.reshape(len(y), *tensor.shape)
    if y.dtype.kind != "f" or tensor.quant is None:
        return shaped
    info = np.iinfo(tensor.dtype.value)
    steps = np.rint(shaped.astype(np.float64) / tensor.quant.scale[0]) + tensor.quant.zero_point[0]
    return np.asarray(np.clip(steps, info.min, info.max), tensor.dtype.value)


def first_difference(source: Oracle, graph: Graph, sample: Sequence[Array]) -> str | None:
    """The operator at which the file's runtime and the NumPy reference part, found by cutting the file short.

    Between the last prefix of the file's operators whose result agrees and the first whose does not. None where the
    file cannot be cut (ONNX, an operator without an exporter, or states).
    """
    if source.kind not in ("tflite-micro", "litert") or source.file_graph.states:
        return None
    whole = source.file_graph
    agreed, differing = -1, len(whole.nodes) - 1
    fed = [
        _real(a, graph.tensors[n], whole.tensors[f]) for a, n, f in zip(sample, graph.inputs, whole.inputs, strict=True)
    ]
    while differing - agreed > 1:
        middle = (agreed + differing) // 2
        same = _prefix_agrees(source, whole, middle, fed)
        if same is None:
            return None
        agreed, differing = (middle, differing) if same else (agreed, middle)
    node = whole.nodes[differing]
    return f"{node.name}, tensor {node.outputs[0]!r}"


def _prefix_agrees(source: Oracle, whole: Graph, last: int, fed: Sequence[Array]) -> bool | None:
    from mcuc.exporters import tflite as exporter
    from mcuc.ir import rebuild

    cut = rebuild(whole, whole.nodes[: last + 1], outputs=whole.nodes[last].outputs)
    wanted = expected(cut, [list(fed)])
    run = oracle.tflite_micro if source.kind == "tflite-micro" else oracle.litert_reference
    try:
        got = run(exporter.export(replace(cut, name="prefix")), [list(fed)])[0]
    except McucError:
        return None
    return all(np.array_equal(a[0].ravel(), b.ravel()) for a, b in zip(wanted, got, strict=True))
