"""The road of a float model: samples, quantization, export, and then the same road as any int8 model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.accuracy.judge import Trial
from mcuc.accuracy.truth import Metric, truth_of
from mcuc.emit.deliver import check_ours, os_errors
from mcuc.importers.onnx import Port, from_file
from mcuc.ir import Array
from mcuc.pipeline import Compiled, Extra, compile_graph
from mcuc.quantize.model import FloatModel, to_proto
from mcuc.quantize.network import Converted, convert, input_shapes, output_shape, read_float
from mcuc.quantize.precision import ALL_INT8
from mcuc.quantize.quantizer import STANDARD, Options, Progress, quiet
from mcuc.quantize.runtime import Runtime
from mcuc.quantize.samples import CALIBRATION, RAW, Samples, Scaling, load_samples
from mcuc.report.quantization import ValueRow, to_html
from mcuc.request import Request
from mcuc.verify.oracle import version

_NAMELESS = ("ExportedProgram", "GraphModule", "Sequential")  # kinds that say nothing about the network


@dataclass(frozen=True)
class FloatRequest:
    """compile: board, budget and so on. data: samples (see load_samples); count: of them for calibration at most.
    metric: by which the result is judged, None for the one that the data calls for. example: a tensor for each input of
    a PyTorch module."""

    compile: Request
    data: str
    scaling: Scaling = RAW
    count: int = CALIBRATION
    options: Options = STANDARD
    metric: Metric | None = None
    example: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Source:
    """A float network as it was given. name: what C files are called after; file: as reports name it; where: as errors
    do; given: the path of a .onnx or .tflite file, a torch.nn.Module or a torch.export program."""

    name: str
    file: str
    where: str
    given: Any


def source_of(given: Any) -> Source:
    """A path, or an object of PyTorch's (what is neither is refused when it is read)."""
    if isinstance(given, str | Path):
        path = Path(given)
        return Source(path.stem, path.name, str(path), path)
    kind = type(given).__name__
    name = "model" if kind in _NAMELESS else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    return Source(name, kind, kind, given)


@dataclass(frozen=True, eq=False)
class BuiltFloat:
    """converted: the int8 network and its files; samples: that calibrated and judged it; compiled: the folder."""

    converted: Converted
    samples: Samples
    compiled: Compiled


def quantize_model(given: Any, request: FloatRequest, progress: Progress = quiet) -> tuple[Converted, Samples]:
    """The int8 network of a float file or PyTorch module and the samples that were used. Raises McucError."""
    source = source_of(given)
    proto, samples = _read(source, request, progress)
    return _converted(proto, samples, source, request, progress), samples


def build_float(given: Any, request: FloatRequest, out: Path | None = None, progress: Progress = quiet) -> BuiltFloat:
    """A float .onnx or .tflite file, or a PyTorch module, to verified firmware in a folder, with the exported int8
    files in it and its accuracy, float against int8, where the data has right answers. Raises McucError where anything
    does not hold."""
    if out is not None:
        check_ours(out)
    source = source_of(given)
    proto, samples = _read(source, request, progress)
    shape = output_shape(proto)
    if shape is not None:  # what the data cannot say is said before the long work
        truth_of(samples.known, shape, samples.test, request.metric)
    made = _converted(proto, samples, source, request, progress)
    name = request.compile.name or made.graph.name
    exported = [(f"{name}.onnx", made.onnx)] + ([(f"{name}.tflite", made.tflite)] if made.tflite is not None else [])
    pages = [("quantization.json", summary(made, samples)), ("quantization.html", page(name, made, samples))]
    progress("running the float network", 0, 1)
    trial = trial_of(made, samples, request.metric, tuple(exported))
    progress("running the float network", 1, 1)
    extra = Extra(
        trial=trial, files=(*exported, *pages), notes=(_note(made, samples),), options=_options(source, request)
    )
    compiled = compile_graph(made.graph, request.compile, source.file, out, lambda stage: progress(stage, 0, 1), extra)
    return BuiltFloat(made, samples, compiled)


def _read(source: Source, request: FloatRequest, progress: Progress) -> tuple[Any, Samples]:
    progress("reading the model", 0, 1)
    with os_errors(Path(source.where), "read"):
        if isinstance(source.given, Path):
            proto = read_float(source.given)
        else:
            from mcuc.importers.torch import to_onnx

            proto = to_onnx(source.given, request.example)
        samples = load_samples(request.data, input_shapes(proto), request.scaling, request.count)
    progress("reading the model", 1, 1)
    return proto, samples


def _converted(proto: Any, samples: Samples, source: Source, request: FloatRequest, progress: Progress) -> Converted:
    return convert(
        proto, source.name, source.where, samples.calibration, request.options, request.compile.profile, progress
    )


def trial_of(
    made: Converted, samples: Samples, metric: Metric | None, exported: tuple[tuple[str, bytes], ...]
) -> Trial | None:
    """By what the network is judged; None where the data has no right answers. Raises McucError for a metric that the
    data does not allow."""
    truth = truth_of(samples.known, made.original.shapes[made.original.outputs[0]], samples.test, metric)
    if truth is None:
        return None
    real = float_answers(made.original, samples.test)
    x = tuple(np.stack(integers(port, column)) for port, column in zip(made.ports, samples.test, strict=True))
    given = samples.test
    return Trial(truth, x, lambda i: [c[i] for c in given], real, version("onnxruntime"), exported, made.outputs[0])


def _options(source: Source, request: FloatRequest) -> tuple[tuple[str, str], ...]:
    """What was asked for besides the request to the compiler."""
    scaling, options = request.scaling, request.options
    words = {
        "float_model": source.file,
        "mean": ",".join(f"{v:g}" for v in scaling.mean),
        "std": ",".join(f"{v:g}" for v in scaling.std),
        "calibration": str(request.count),
        "activations": options.activations,
        "weights": options.weights,
    }
    if "mixed" in (options.activations, options.weights):
        words["snr_db"] = "default" if options.snr_db is None else f"{options.snr_db:g}"
    return tuple(words.items())


def float_answers(model: FloatModel, columns: tuple[Array, ...]) -> Array:
    """The first output of the float network [n, values]."""
    with Runtime(model.name) as runtime:
        runtime.set_samples(columns)
        opened = runtime.open(to_proto(model), exact=False)
        return runtime.outputs(opened, model.outputs[:1])[0].reshape(len(columns[0]), -1)


def integers(port: Port, column: Array) -> list[Array]:
    """Samples float32 [n, 1, ...] in the graph's integers and order."""
    return [from_file(port, sample) for sample in column]


def _note(made: Converted, samples: Samples) -> str:
    q, p = made.quantized, made.precision
    snr = q.snr if p == ALL_INT8 else p.before
    mixed = f"; {len(p.wide)} values in int16, {len(p.int4)} layers with four-bit weights: {p.after:.1f} dB"
    return (
        f"quantized with {len(samples.calibration[0])} calibration samples of {samples.source} "
        f"({q.way}): outputs {snr:.1f} dB above the error on them{mixed if p != ALL_INT8 else ''}"
    )


def summary(made: Converted, samples: Samples) -> bytes:
    """quantization.json: what was tried, the ranges, scales and zero points."""
    q = made.quantized
    activations = {v: {"scale": p.scale[0], "zero_point": p.zero_point[0]} for v, p in q.scheme.activations.items()}
    p = made.precision
    layers = [{"value": n.value, "op": n.op, "snr_db": n.snr, "alone_db": n.alone} for n in made.noise]
    ranges = {v: [r.low, r.high] for v, r in q.ranges.items()}
    found: dict[str, Any] = {
        "samples": {"source": samples.source, "calibration": len(samples.calibration[0]), "test": len(samples.test[0])},
        "tried": [{"way": t.way, "snr_db": round(t.snr, 3)} for t in q.tried],
        "layers": layers,
        "ranges": ranges,
        "activations": activations,
        "precision": {
            "int16_values": list(p.wide),
            "int4_layers": list(p.int4),
            "int8_alone_db": dict(p.activation_db),
            "int4_alone_db": dict(p.weights_db),
            "int8_db": round(p.before, 3),
            "mixed_db": round(p.after, 3),
        },
    }
    return (json.dumps(found, indent=1, sort_keys=True) + "\n").encode()


def page(name: str, made: Converted, samples: Samples) -> bytes:
    """quantization.html."""
    q = made.quantized
    at = {v: i for i, v in enumerate(q.seen.values)}
    rows = []
    for noise in made.noise:
        i = at[noise.value]
        quant = q.scheme.activations[noise.value]
        wide = noise.value in q.scheme.wide
        low, high = ((end - quant.zero_point[0]) * quant.scale[0] for end in ((-32768, 32767) if wide else (-128, 127)))
        extent = float(q.seen.extents[i][0]), float(q.seen.extents[i][1])
        rows.append(
            ValueRow(
                noise.value,
                noise.op,
                noise.snr,
                noise.alone,
                low,
                high,
                quant.scale[0],
                quant.zero_point[0],
                "int16" if wide else "int8",
                q.seen.counts[i],
                extent,
            )
        )
    said = f"{len(samples.calibration[0])} calibration samples of {samples.source}; taken: {q.way}"
    return to_html(name, said, [(t.way, t.snr) for t in q.tried], rows).encode()
