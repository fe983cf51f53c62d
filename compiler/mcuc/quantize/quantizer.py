"""Post-training quantization of a float network: ranges, weights and biases, the best of several ways.

What is best is measured: the signal-to-noise ratio of the outputs over the calibration samples, quantized network
against float network, before a final softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array, Quant
from mcuc.quantize import qdq
from mcuc.quantize.choices import MOST_TAPS, least_for, most, other, swapped
from mcuc.quantize.equalize import equalized
from mcuc.quantize.model import FloatModel, FloatNode, to_proto
from mcuc.quantize.params import Scheme, activation_quant, nearest, weight_scale
from mcuc.quantize.ranges import METHODS, Method, Range, chosen
from mcuc.quantize.roles import Roles, Weighted, roles
from mcuc.quantize.rounding import bias_shift, compensated
from mcuc.quantize.runtime import Opened, Runtime

MOMENT_SAMPLES = 64
NO_NOISE = 200.0  # dB
WANTED = 30.0  # dB of the outputs that mixed activations reach
PER_CHANNEL_GAIN = 0.5  # dB that a scale for each output of dense layers brings: it takes a file 8 bytes or more each
Progress = Callable[[str, int, int], None]
Activations = Literal["int8", "mixed", "int16"]
WeightTypes = Literal["int8", "mixed"]


@dataclass(frozen=True)
class Options:
    """What is tried. sensitivity: each layer is quantized alone, too, to see what it costs. activations: int16
    (TFLite's 16x8) nowhere, where int8 hurts most until the outputs are snr_db (None: WANTED) above the error, or
    everywhere. weights: four bits nowhere, or where the outputs lose least by it, 1 dB together or what snr_db leaves.
    inputs: scale and zero point of each input, where the application gives them; () to take them from the samples.
    """

    methods: tuple[Method, ...] = METHODS
    equalize: tuple[bool, ...] = (False, True)
    compensate: bool = True
    sensitivity: bool = False
    activations: Activations = "int8"
    weights: WeightTypes = "int8"
    snr_db: float | None = None
    inputs: tuple[tuple[float, int], ...] = ()


STANDARD = Options()


@dataclass(frozen=True)
class Tried:
    """One way and its signal-to-noise ratio in dB."""

    way: str
    snr: float


@dataclass(frozen=True, eq=False)
class Quantized:
    """proto: the QDQ ONNX file. tried: every way, in order; ranges, scheme, roles, seen: of the best, whose name with
    what was changed of it is `way`."""

    model: FloatModel
    proto: bytes
    scheme: Scheme
    roles: Roles
    ranges: Mapping[str, Range]
    seen: Observed
    snr: float
    tried: tuple[Tried, ...]
    way: str


@dataclass(frozen=True, eq=False)
class Observed:
    """The values' histograms over the samples: extents [values, 2], counts [values, bins]. least: ranges that are
    covered whatever the samples say: of tables, all of whose rows an index may pick."""

    values: tuple[str, ...]
    extents: Array
    counts: Array
    least: Mapping[str, Range]

    def ranges(self, method: Method, groups: Mapping[str, str]) -> dict[str, Range]:
        """The range of each group, which covers all of its values."""
        found: dict[str, Range] = {}
        for name, (low, high), counts in zip(self.values, self.extents, self.counts, strict=True):
            own, key = chosen(counts, low, high, method), groups[name]
            found[key] = found[key].union(own) if key in found else own
        for name, reach in self.least.items():
            found[groups[name]] = found[groups[name]].union(reach)
        return found


def quiet(stage: str, done: int, total: int) -> None:
    """Progress to nobody."""


def quantize(model: FloatModel, runtime: Runtime, options: Options = STANDARD, progress: Progress = quiet) -> Quantized:
    """The quantized network; the runtime holds the calibration samples.

    Raises McucError: not-finite (a value of the float network is no number) and what the runtime raises.
    """
    candidates = [model, equalized(model)] if True in options.equalize else [model]
    candidates = candidates if False in options.equalize else candidates[1:]
    tried: list[Tried] = []
    best: tuple[float, FloatModel, Roles, Observed, Method, Scheme] | None = None
    for number, candidate in enumerate(candidates):
        found = roles(candidate, dict(zip(candidate.inputs, options.inputs, strict=False)))
        seen = observe(candidate, found, runtime)
        reference = runtime.open(to_proto(candidate, judged(candidate)))
        for k, method in enumerate(options.methods):
            progress("trying ranges", number * len(options.methods) + k, len(candidates) * len(options.methods))
            scheme = scheme_for(candidate, found, seen.ranges(method, found.groups))
            snr = score(candidate, found, scheme, runtime, reference)
            tried.append(Tried(f"{method}{', equalised' if candidate is not model else ''}", snr))
            if best is None or snr > best[0]:
                best = snr, candidate, found, seen, method, scheme
        runtime.close(reference)
    assert best is not None
    snr, chosen_model, found, seen, method, scheme = best
    flat = ""
    if options.compensate and found.weighted:
        progress("rounding weights", 0, 1)
        reference = runtime.open(to_proto(chosen_model, judged(chosen_model)))
        for way, corrected in compensations(chosen_model, found, scheme, runtime):
            got = score(chosen_model, found, corrected, runtime, reference)
            tried.append(Tried(f"{method}, {way}", got))
            if got > snr:
                snr, scheme = got, corrected
        few = fewer_scales(chosen_model, found, scheme, runtime, reference, snr)
        if few is not None:
            snr, scheme, count = few
            flat = f", one weight scale in {count} dense layers"
        runtime.close(reference)
    return Quantized(
        chosen_model,
        qdq.write(chosen_model, found, scheme),
        scheme,
        found,
        seen.ranges(method, found.groups),
        seen,
        snr,
        tuple(tried),
        max(tried, key=lambda t: t.snr).way + flat,
    )


def judged(model: FloatModel) -> list[str]:
    """The values by which quantization is judged: the outputs, or what a final softmax reads."""
    producers = model.producers()
    found = []
    for name in model.outputs:
        node = producers.get(name)
        while (
            node is not None
            and node.kind in ("Softmax", "Identity", "Reshape", "Flatten")
            and (node.inputs[0] in producers and node.inputs[0] in model.real)
        ):
            name, node = node.inputs[0], producers.get(node.inputs[0])
        if name in model.real:
            found.append(name)
    return found


def observe(model: FloatModel, found: Roles, runtime: Runtime) -> Observed:
    """Histograms of every quantized value."""
    values = tuple(found.groups)
    computed = [v for v in values if v not in model.inputs]
    opened = runtime.open(to_proto(_with_inputs(model), [*computed, *(f"{i}/seen" for i in model.inputs)]))
    names = [f"{v}/seen" if v in model.inputs else v for v in values]
    extents = runtime.extents(opened, names)
    least = tables(model, found)
    broken = [v for v, e in zip(values, extents, strict=True) if not np.isfinite(e).all()]
    broken += [v for v, reach in least.items() if not np.isfinite((reach.low, reach.high)).all()]
    if broken:
        raise McucError(
            "not-finite",
            f"value {broken[0]!r} of the float network is not finite",
            where=model.name,
            try_this="check the model's weights and the calibration samples",
        )
    counts = runtime.histograms(opened, names, extents)
    runtime.close(opened)
    return Observed(values, extents, counts, least)


def tables(model: FloatModel, found: Roles) -> dict[str, Range]:
    """What is picked from each constant table of numbers by indices computed at run time -> the table's range."""
    picks = [n for n in model.nodes if n.kind == "Gather" and n.inputs[0] in model.constants]
    return {n.outputs[0]: reach_of(model.constants[n.inputs[0]]) for n in picks if n.outputs[0] in found.groups}


def _with_inputs(model: FloatModel) -> FloatModel:
    """Inputs behind an Identity, so that they can be looked at as other values."""
    copies = tuple(FloatNode(f"{i}/seen", "Identity", (i,), (f"{i}/seen",), {}) for i in model.inputs)
    seen = {f"{i}/seen": model.shapes[i] for i in model.inputs}
    known = frozenset(f"{i}/seen" for i in model.inputs if i in model.real)
    return replace(model, nodes=(*copies, *model.nodes), shapes={**model.shapes, **seen}, real=model.real | known)


def scheme_for(model: FloatModel, found: Roles, ranges: Mapping[str, Range]) -> Scheme:
    """The nearest integers for those ranges. Raises McucError("not-finite") for a weight or constant that is none."""
    for name in (*found.constants, *(w.weight for w in found.weighted.values())):
        if not np.isfinite(model.constants[name]).all():
            raise McucError(
                "not-finite",
                f"constant {name!r} of the float network has values that are not finite",
                where=model.name,
                try_this="write finite numbers instead; a mask in front of a softmax may have -inf",
            )
    by_group = {key: activation_quant(reach, found.fixed.get(key)) for key, reach in ranges.items()}
    activations = {v: by_group[key] for v, key in found.groups.items()}
    weights, biases = {}, {}
    for layer in found.weighted.values():
        real = model.constants[layer.weight]
        scale = weight_scale(real, layer.axis, least=least_for(model, layer, activations))
        weights[layer.name] = nearest(real, layer.axis, scale)
        if layer.bias:
            biases[layer.name] = model.constants[layer.bias].reshape(-1)
    return Scheme(activations, weights, biases, operand_quants(model, found, activations))


def operand_quants(model: FloatModel, found: Roles, activations: Mapping[str, Quant]) -> dict[str, Quant]:
    """Of the constant operands; a table that indices pick from has the quantization of what is picked."""
    picked = {node.inputs[0]: activations.get(node.outputs[0]) for node in model.nodes if node.kind == "Gather"}
    return {n: picked.get(n) or operand_quant(model.constants[n]) for n in found.constants}


def operand_quant(real: Array) -> Quant:
    """Of a constant operand; a single number is exact."""
    return activation_quant(reach_of(real))


def reach_of(real: Array) -> Range:
    """The range of a constant."""
    return Range(float(real.min(initial=0.0)), float(real.max(initial=0.0)))


def score(model: FloatModel, found: Roles, scheme: Scheme, runtime: Runtime, reference: Opened) -> float:
    """Signal-to-noise ratio in dB at the judged values, the worst of them."""
    names = judged(model)
    if not names:  # all outputs are integers or truth values
        return NO_NOISE
    other = runtime.open(looking(qdq.write(model, found, scheme), names, model))
    sums = runtime.errors(reference, names, other, [rounded_name(n, model, scheme) for n in names])
    runtime.close(other)
    return float(decibels(sums).min())


def decibels(sums: Array) -> Array:
    """10 log10(signal / noise) from Runtime.errors' sums; NO_NOISE where there is none."""
    signal, noise = np.maximum(sums[:, 0], 1e-30), sums[:, 1]
    return np.where(noise <= signal * 1e-20, NO_NOISE, 10 * np.log10(signal / np.maximum(noise, 1e-280)))


def rounded_name(value: str, model: FloatModel, scheme: Scheme) -> str:
    """What a value of the float network is called behind its rounding in the QDQ file."""
    if value in model.outputs or value not in scheme.activations:
        return value
    return f"{value}{qdq.DEQUANTIZED}"


def looking(proto: bytes, names: Sequence[str], model: FloatModel) -> bytes:
    """The QDQ file with the rounded judged values as outputs."""
    import onnx
    from onnx import helper

    found = onnx.load_from_string(proto)
    have = {o.name for o in found.graph.output}
    written = {o for node in found.graph.node for o in node.output}
    for name in names:
        for label in (f"{name}{qdq.DEQUANTIZED}", name):
            if label in written and label not in have:
                found.graph.output.append(
                    helper.make_tensor_value_info(label, onnx.TensorProto.FLOAT, model.shapes[name])
                )
                break
    return bytes(found.SerializeToString())


def compensations(model: FloatModel, found: Roles, scheme: Scheme, runtime: Runtime) -> list[tuple[str, Scheme]]:
    """The scheme with corrected biases; and with weights rounded with compensation, and biases corrected for those."""
    layers, moments = input_moments(model, found, runtime)
    rounded = dict(scheme.weights)
    for layer, (gram, _) in zip(layers, moments, strict=True):
        if gram.shape[1] <= MOST_TAPS:
            rounded[layer.name] = compensated(model.constants[layer.weight], layer, scheme.weights[layer.name], gram)
    ways = []
    for way, weights in (("biases corrected", scheme.weights), ("weights compensated", rounded)):
        biases = dict(scheme.biases)
        for layer, (_, mean) in zip(layers, moments, strict=True):
            if layer.name in biases:
                shift = bias_shift(model.constants[layer.weight], layer, weights[layer.name], mean)
                biases[layer.name] = (biases[layer.name] - shift).astype(np.float32)
        ways.append((way, replace(scheme, weights=weights, biases=biases)))
    return ways if layers else []


def fewer_scales(
    model: FloatModel, found: Roles, scheme: Scheme, runtime: Runtime, reference: Opened, snr: float
) -> tuple[float, Scheme, int] | None:
    """One weight scale in as many dense layers as cost the outputs PER_CHANNEL_GAIN together, and their number; None
    where that is 0."""
    layers, moments = input_moments(model, found, runtime, ("dense",))
    pairs = [(w, m) for w, m in zip(layers, moments, strict=True) if scheme.weights[w.name].axis is not None]
    others = {layer.name: other(model, layer, None, own, scheme.activations) for layer, own in pairs}

    def ratio(names: Sequence[str]) -> float:
        return score(model, found, swapped(scheme, others, names), runtime, reference)

    alone = {name: ratio((name,)) for name in others}
    order = sorted(others, key=lambda name: -alone[name])
    count = most(len(order), lambda n: ratio(order[:n]) >= snr - PER_CHANNEL_GAIN)
    return (ratio(order[:count]), swapped(scheme, others, order[:count]), count) if count else None


def input_moments(
    model: FloatModel, found: Roles, runtime: Runtime, kinds: tuple[str, ...] = ("conv", "dense")
) -> tuple[list[Weighted], list[tuple[Array, Array]]]:
    """The layers of these kinds whose patches are known, and the moments of their float inputs (see Runtime.moments).
    """
    layers = [w for w in found.weighted.values() if w.kind in kinds and _spec(w, model) is not None]
    if not layers:
        return [], []
    inputs = [w.node.inputs[0] for w in layers]
    opened = runtime.open(
        to_proto(
            _with_inputs(model), [*(i for i in inputs if i not in model.inputs), *(f"{i}/seen" for i in model.inputs)]
        )
    )
    specs: list[dict[str, Any]] = []
    for layer in layers:
        spec = _spec(layer, model)
        assert spec is not None
        specs.append(spec)
    moments = runtime.moments(opened, specs, MOMENT_SAMPLES)
    runtime.close(opened)
    return layers, moments


def _spec(layer: Weighted, model: FloatModel) -> dict[str, Any] | None:
    """How the layer's patches are cut out of its input; None where that is not known."""
    x = layer.node.inputs[0]
    name = f"{x}/seen" if x in model.inputs else x
    if layer.kind == "dense":
        return None if layer.node.attrs.get("transA") else {"kind": "dense", "input": name}
    a, shape = layer.node.attrs, model.constants[layer.weight].shape
    if len(shape) != 4 or a.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return None
    return {
        "kind": "conv",
        "input": name,
        "kernel": list(shape[2:]),
        "strides": list(a.get("strides", (1, 1))),
        "dilations": list(a.get("dilations", (1, 1))),
        "pads": list(a.get("pads", (0, 0, 0, 0))),
        "groups": int(a.get("group", 1)),
    }

