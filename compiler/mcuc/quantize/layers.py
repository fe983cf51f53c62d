"""What each layer does to the answer: its own signal-to-noise ratio, and what quantizing it alone costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcuc.quantize import qdq
from mcuc.quantize.model import FloatModel, to_proto
from mcuc.quantize.quantizer import Progress, Quantized, decibels, judged, looking, rounded_name
from mcuc.quantize.runtime import Opened, Runtime

SAMPLES = 48


@dataclass(frozen=True)
class LayerNoise:
    """One quantized value in execution order. value, op: of the float network; snr: dB of the value itself with the
    whole network quantized; alone: dB of the outputs with this layer alone quantized (its weights and its output)."""

    value: str
    op: str
    snr: float
    alone: float | None = None


def layer_noise(found: Quantized, runtime: Runtime) -> tuple[LayerNoise, ...]:
    """Of every value of the quantized network that a node computes; the runtime holds samples."""
    model = found.model
    names = computed(found)
    if not names:
        return ()
    reference = runtime.open(to_proto(model, names))
    other = runtime.open(looking(found.proto, names, model))
    rounded = [rounded_name(n, model, found.scheme) for n in names]
    snr = decibels(runtime.errors(reference, names, other, rounded, SAMPLES))
    runtime.close(reference)
    runtime.close(other)
    producers = model.producers()
    return tuple(LayerNoise(n, producers[n].kind, round(float(s), 2)) for n, s in zip(names, snr, strict=True))


def computed(found: Quantized) -> list[str]:
    """The quantized values that a node computes, in order."""
    return [o for node in found.model.nodes for o in node.outputs if o in found.roles.groups]


def sensitivity(
    found: Quantized, runtime: Runtime, noise: Sequence[LayerNoise], progress: Progress
) -> tuple[LayerNoise, ...]:
    """The same with `alone`: one run of the network per layer."""
    model = found.model
    reference = runtime.open(to_proto(model, judged(model)))
    measured = []
    for i, layer in enumerate(noise):
        progress("measuring what each layer costs", i, len(noise))
        alone = _alone(found, model, layer.value, runtime, reference)
        measured.append(LayerNoise(layer.value, layer.op, layer.snr, round(alone, 2)))
    progress("measuring what each layer costs", len(noise), len(noise))
    runtime.close(reference)
    return tuple(measured)


def _alone(found: Quantized, model: FloatModel, value: str, runtime: Runtime, reference: Opened) -> float:
    proto = qdq.write(model, found.roles, found.scheme, frozenset((value,)))
    names = judged(model)
    other = runtime.open(looking(proto, names, model))
    labels = [rounded_name(n, model, found.scheme) if n == value else n for n in names]
    sums = runtime.errors(reference, names, other, labels, SAMPLES)
    runtime.close(other)
    return float(decibels(sums).min())
