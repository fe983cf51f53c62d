"""From a float file and samples to the int8 network: its graph, and the files that the stock runtimes load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.exporters import tflite as tflite_exporter
from mcuc.exporters.file import named_ends
from mcuc.importers import float_tflite
from mcuc.importers import onnx as onnx_importer
from mcuc.importers.onnx import Port
from mcuc.ir import Array, Graph
from mcuc.quantize import qdq
from mcuc.quantize.layers import LayerNoise, layer_noise, sensitivity
from mcuc.quantize.masks import bounded_masks
from mcuc.quantize.model import FloatModel, from_proto, to_proto, with_shapes
from mcuc.quantize.patterns import recognised
from mcuc.quantize.precision import ALL_INT8, Precision, choose_int4, choose_wide, peaks, with_wide
from mcuc.quantize.quantizer import STANDARD, Options, Progress, Quantized, judged, quantize, quiet, scheme_for, score
from mcuc.quantize.ranges import Range
from mcuc.quantize.retarget import require_forms, retarget
from mcuc.quantize.roles import roles
from mcuc.quantize.runtime import Runtime
from mcuc.quantize.widen import widen

_WHATEVER_SCALES = ("not-constant", "unsupported-operator", "unsupported-type")


@dataclass(frozen=True, eq=False)
class Converted:
    """graph: int8, profile tflite where TFLite can express it, else onnx (notes say why). onnx, tflite: the exported
    files, tflite None where it cannot.

    ports, outputs: the graph's inputs and outputs against the file's; quantized: how; original: the simplified float
    network; noise: what quantization did to each value; precision: what is not int8."""

    graph: Graph
    ports: tuple[Port, ...]
    quantized: Quantized
    original: FloatModel
    noise: tuple[LayerNoise, ...]
    onnx: bytes
    tflite: bytes | None
    precision: Precision = ALL_INT8
    outputs: tuple[Port, ...] = ()


def input_shapes(proto: Any) -> list[tuple[int | None, ...]]:
    """The shapes of a float ONNX model's inputs, None where a dimension is free."""
    constants = {i.name for i in proto.graph.initializer}
    return [_shape(entry) for entry in proto.graph.input if entry.name not in constants]


def output_shape(proto: Any) -> tuple[int, ...] | None:
    """The shape of a float ONNX model's first output, a free batch being 1; None where the file does not say it."""
    if not proto.graph.output or not proto.graph.output[0].type.tensor_type.HasField("shape"):
        return None
    shape = _shape(proto.graph.output[0])
    fixed = tuple(1 if d is None and i == 0 else d for i, d in enumerate(shape))
    return None if not fixed or None in fixed else fixed  # type: ignore[return-value]


def _shape(entry: Any) -> tuple[int | None, ...]:
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in entry.type.tensor_type.shape.dim
    )


def read_float(path: Path) -> Any:
    """The float ONNX model of a .onnx or float .tflite file.

    Raises McucError: hybrid-model, corrupt-model, unsupported-operator.
    """
    raw = path.read_bytes()
    if path.suffix.lower() == ".tflite":
        return float_tflite.to_onnx(raw, str(path), path.stem)
    from mcuc.importers import _onnx_proto

    return _onnx_proto.read_float(raw, str(path), path.parent)


def convert(
    proto: Any,
    name: str,
    where: str,
    samples: Sequence[Array],
    options: Options = STANDARD,
    profile: str | None = None,
    progress: Progress = quiet,
) -> Converted:
    """The int8 network of a float ONNX model, calibrated on samples [n, 1, ...] of each input.

    profile: tflite or onnx, None for tflite where that can express the network.
    Raises McucError where the network cannot be quantized or the samples do not fit.
    """
    with Runtime(where) as runtime:
        return convert_with(runtime, proto, name, where, samples, options, profile, progress)


def convert_with(
    runtime: Runtime,
    proto: Any,
    name: str,
    where: str,
    samples: Sequence[Array],
    options: Options = STANDARD,
    profile: str | None = None,
    progress: Progress = quiet,
) -> Converted:
    """As convert, with a runtime of the caller's, which keeps these samples."""
    columns = [np.ascontiguousarray(c, np.float32) for c in samples]
    model = recognised(from_proto(with_shapes(proto, columns, where), name, where, runtime))
    runtime.set_samples(columns)
    model = bounded_masks(model, runtime)
    refuse_early(model, where, profile == "tflite" or (options.activations, options.weights) != ("int8", "int8"))
    found = quantize(model, runtime, options, progress)
    noise = layer_noise(found, runtime)
    if options.sensitivity:
        noise = sensitivity(found, runtime, noise, progress)
    made = finished(found, model, noise, where, profile)
    if (options.activations, options.weights) == ("int8", "int8"):
        return made
    return mixed(made, runtime, options, where, progress)


def refuse_early(model: FloatModel, where: str, tflite: bool) -> None:
    """Raises at once what importing the quantized network would refuse after the long work, whatever its scales are.
    tflite: the network has to be one of TFLite."""
    found = roles(model)
    anyhow = scheme_for(model, found, dict.fromkeys(found.groups.values(), Range(-1.0, 1.0)))
    try:
        graph = onnx_importer.parse_with_interface(qdq.write(model, found, anyhow), where, model.name)[0]
    except McucError as error:
        if error.code == "not-quantized":
            raise McucError(
                "unsupported-operator",
                f"there is no integer form of this use of an operator: {error.found}",
                where=error.where,
                try_this="express it with operators that `mcuc ops` lists, with constants where they have them",
            ) from error
        if error.code in _WHATEVER_SCALES:
            raise
        return
    if tflite:
        require_forms(graph)


def mixed(made: Converted, runtime: Runtime, options: Options, where: str, progress: Progress = quiet) -> Converted:
    """The network with int16 activations and four-bit weights as the options want them; the runtime holds the samples.

    Raises McucError("not-exportable") for a network that TFLite cannot express.
    """
    if made.graph.profile != "tflite":
        raise McucError(
            "not-exportable",
            "int16 activations and four-bit weights need a network that TFLite can express, which this is not",
            where=where,
            try_this="leave out --activations and --weights; the notes of a build without them say which node it is",
        )
    found = made.quantized
    wide: tuple[str, ...] = ()
    int4: tuple[str, ...] = ()
    alone: dict[str, float] = {}
    weights_db: dict[str, float] = {}
    if options.activations != "int8":
        wide, alone = choose_wide(found, made.graph, runtime, options, progress)
    if options.weights != "int8":
        in_int16 = frozenset(t.removesuffix(qdq.REAL) for t in wide)
        found, int4, weights_db = choose_int4(found, runtime, in_int16, options, progress)
        made = finished(found, made.original, made.noise, where, "tflite")
    graph = widen(_four_bits(made.graph, frozenset(int4)), frozenset(wide), peaks(found))
    scheme = with_wide(found, made.graph, wide)
    reference = runtime.open(to_proto(found.model, judged(found.model)))
    after = score(found.model, found.roles, scheme, runtime, reference)
    runtime.close(reference)
    precision = Precision(wide, int4, alone, weights_db, made.quantized.snr, after)
    found = replace(found, scheme=scheme, proto=qdq.write(found.model, found.roles, scheme), snr=after)
    alone_db = {n.value: n.alone for n in made.noise}
    return replace(
        made,
        graph=graph,
        quantized=found,
        noise=tuple(replace(n, alone=alone_db.get(n.value)) for n in layer_noise(found, runtime)),
        onnx=found.proto,
        tflite=tflite_exporter.export(graph),
        precision=precision,
    )


def _four_bits(graph: Graph, layers: frozenset[str]) -> Graph:
    """The graph with the weights of these layers marked as of four bits."""
    chosen = [n for n in graph.nodes if n.outputs[0].removesuffix(qdq.REAL) in layers and len(n.inputs) > 1]
    weights = {n.inputs[1]: replace(graph.tensors[n.inputs[1]], int4=True) for n in chosen}
    return replace(graph, tensors={**graph.tensors, **weights})


def finished(
    found: Quantized, original: FloatModel, noise: tuple[LayerNoise, ...], where: str, profile: str | None
) -> Converted:
    """The graph and the files of a quantized network."""
    graph, ends = onnx_importer.parse_with_interface(found.proto, where, original.name)
    graph = named_ends(graph, (*ends.inputs, *ends.outputs))
    inputs, outputs = (
        tuple(replace(port, name=name) for port, name in zip(ports, names, strict=True))
        for ports, names in ((ends.inputs, graph.inputs), (ends.outputs, graph.outputs))
    )
    exported = None
    if profile != "onnx":
        try:
            as_tflite = retarget(graph)
            exported = tflite_exporter.export(as_tflite)
            graph = as_tflite
        except McucError as error:
            if profile == "tflite":
                raise
            note = f"not expressible in TFLite ({error.where}: {error.found}): compiled under ONNX Runtime's rounding"
            graph = replace(graph, notes=(*graph.notes, note))
    return Converted(graph, inputs, found, original, noise, found.proto, exported, outputs=outputs)
