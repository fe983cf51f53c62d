"""Mixed precision: int16 activations where int8 hurts, four-bit weights where they do not.

Both are chosen by measuring: what each value, each layer costs alone orders them; how many are taken is what keeps the
outputs' signal-to-noise ratio over the calibration samples where it shall be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mcuc.ir import DType, Graph, Quant
from mcuc.quantize import qdq
from mcuc.quantize.choices import most, other, swapped
from mcuc.quantize.model import FloatNode, to_proto
from mcuc.quantize.params import Scheme, wide_quant
from mcuc.quantize.quantizer import (
    WANTED,
    Options,
    Progress,
    Quantized,
    decibels,
    input_moments,
    judged,
    looking,
    rounded_name,
    score,
)
from mcuc.quantize.roles import SAME, quantized_as
from mcuc.quantize.runtime import Opened, Runtime
from mcuc.quantize.widen import widen, widenable

SAMPLES = 48  # by which values and layers are put in order
INT4_PEAK = 7
INT4_LOSS = 1.0  # dB of the outputs that four-bit weights may cost together, more where less is asked for
NEAR_BEST = 0.5  # dB below what int16 everywhere reaches, where the wanted ratio is out of reach


@dataclass(frozen=True)
class Precision:
    """wide: tensors of the graph that are int16, in order; int4: layers (by output in the float network) with four-bit
    weights; activation_db, weights_db: dB of the outputs with that value alone in int8, with that layer alone at four
    bits; before, after: dB of the outputs with int8 everywhere, with this choice."""

    wide: tuple[str, ...] = ()
    int4: tuple[str, ...] = ()
    activation_db: Mapping[str, float] = field(default_factory=dict)
    weights_db: Mapping[str, float] = field(default_factory=dict)
    before: float = 0.0
    after: float = 0.0


ALL_INT8 = Precision()


def peaks(found: Quantized) -> dict[Quant, float]:
    """The largest magnitude known of the values of each int8 quantization."""
    largest: dict[Quant, float] = {}
    for value, extent in zip(found.seen.values, found.seen.extents, strict=True):
        quant = found.scheme.activations[value]
        largest[quant] = max(largest.get(quant, 0.0), float(np.abs(extent).max()))
    for value, reach in found.seen.least.items():
        quant = found.scheme.activations[value]
        largest[quant] = max(largest[quant], -reach.low, reach.high)
    return largest


def with_wide(found: Quantized, graph: Graph, tensors: Sequence[str]) -> Scheme:
    """The scheme with what these tensors of the graph hold in int16, and what only hands it on: what is int16 in the
    graph that `widen` makes. A node in int8 reads an int16 value in int8, as there."""
    reach, readers = peaks(found), found.model.consumers()
    own = {n.outputs[0]: _value_of(n.outputs[0], found, readers) for n in graph.nodes}
    made = widen(graph, frozenset(tensors), reach) if tensors else graph
    values = {v for t, v in own.items() if v is not None and made.tensors[t].dtype is DType.INT16}
    for node in found.model.nodes:
        if node.kind in SAME and node.inputs[0] in values:
            values |= {o for o in node.outputs if o in found.roles.groups} - {*own.values()}
    activations, narrow = dict(found.scheme.activations), {v: found.scheme.activations[v] for v in values}
    for value in values:
        activations[value] = wide_quant(activations[value], reach)
    return replace(found.scheme, activations=activations, wide=frozenset(values), narrow=narrow)


def _value_of(tensor: str, found: Quantized, readers: Mapping[str, Sequence[tuple[FloatNode, int]]]) -> str | None:
    """The quantized value of the float network that a tensor of the imported graph holds."""
    return quantized_as(tensor.removesuffix(qdq.REAL), found.roles, readers)


def choose_wide(
    found: Quantized, graph: Graph, runtime: Runtime, options: Options, progress: Progress
) -> tuple[tuple[str, ...], dict[str, float]]:
    """The tensors of the int8 graph to be int16, in order, and what each costs alone in int8 (dB of the outputs)."""
    candidates = widenable(graph)
    if options.activations == "int16" or not candidates:
        return candidates, {}
    reference, readers = runtime.open(to_proto(found.model, judged(found.model))), found.model.consumers()
    alone: dict[str, float] = {}
    for i, tensor in enumerate(candidates):
        progress("measuring int8 activations", i, len(candidates))
        value = _value_of(tensor, found, readers)
        if value is not None:
            alone[tensor] = round(_alone(found, value, runtime, reference), 2)
    order = sorted(alone, key=lambda t: alone[t])

    def ratio(count: int) -> float:
        scheme = with_wide(found, graph, order[:count])
        return score(found.model, found.roles, scheme, runtime, reference)

    wanted = min(WANTED if options.snr_db is None else options.snr_db, ratio(len(order)) - NEAR_BEST)
    kept = most(len(order), lambda n: ratio(len(order) - n) >= wanted)  # in int8, those that cost least
    count = len(order) - kept
    runtime.close(reference)
    progress("measuring int8 activations", len(candidates), len(candidates))
    chosen = set(order[:count])
    return tuple(t for t in candidates if t in chosen), alone


def _alone(found: Quantized, value: str, runtime: Runtime, reference: Opened) -> float:
    """dB of the outputs with this value in int8, the rest of the network in float."""
    bare = replace(found.scheme, weights={}, biases={})
    names = judged(found.model)
    proto = qdq.write(found.model, found.roles, bare, frozenset((value,)))
    other = runtime.open(looking(proto, names, found.model))
    labels = [rounded_name(n, found.model, found.scheme) if n == value else n for n in names]
    sums = runtime.errors(reference, names, other, labels, SAMPLES)
    runtime.close(other)
    return float(decibels(sums).min())


def choose_int4(
    found: Quantized, runtime: Runtime, without: frozenset[str], options: Options, progress: Progress
) -> tuple[Quantized, tuple[str, ...], dict[str, float]]:
    """The network with four-bit weights in as many layers as the wanted ratio or INT4_LOSS allows, those layers, and
    what each costs alone (dB of the outputs). without: layers that keep eight bits.

    Layers are taken by bytes saved for the noise that they add.
    """
    model = found.model
    layers, moments = input_moments(model, found.roles, runtime)
    # TFLite Micro's dense layers of four bits have one scale
    small = {
        layer.name: other(
            model, layer, None if layer.kind == "dense" else layer.axis, own, found.scheme.activations, INT4_PEAK
        )
        for layer, own in zip(layers, moments, strict=True)
        if layer.name not in without
    }
    reference = runtime.open(to_proto(model, judged(model)))

    def ratio(scheme: Scheme) -> float:
        return score(model, found.roles, scheme, runtime, reference)

    before = ratio(found.scheme)
    alone: dict[str, float] = {}
    for i, name in enumerate(small):
        progress("measuring four-bit weights", i, len(small))
        alone[name] = round(ratio(swapped(found.scheme, small, (name,))), 2)
    noise = {n: max(10 ** (-db / 10) - 10 ** (-before / 10), 1e-12) for n, db in alone.items()}
    order = sorted(alone, key=lambda n: noise[n] / small[n].weights.values.size)
    floor = before - INT4_LOSS if options.snr_db is None else min(options.snr_db, before - INT4_LOSS)
    count = most(len(order), lambda n: ratio(swapped(found.scheme, small, order[:n])) >= floor)
    runtime.close(reference)
    progress("measuring four-bit weights", len(small), len(small))
    scheme = swapped(found.scheme, small, order[:count])
    chosen = tuple(n for n in small if n in set(order[:count]))
    return replace(found, scheme=scheme, proto=qdq.write(model, found.roles, scheme)), chosen, alone
