"""What a layer knows of each output channel, for some of them."""

from __future__ import annotations

from dataclasses import replace

from mcuc.ir import Array, Quant, Requant


def picked(values: tuple[int, ...], kept: Array) -> tuple[int, ...]:
    """One entry per channel: those of the kept ones. A single entry is for all."""
    return values if len(values) <= 1 else tuple(values[i] for i in kept)


def picked_requant(rule: Requant, kept: Array) -> Requant:
    """The rule of the kept channels."""
    scale = rule.scale if len(rule.scale) <= 1 else tuple(rule.scale[i] for i in kept)
    return replace(rule, multiplier=picked(rule.multiplier, kept), shift=picked(rule.shift, kept), scale=scale)


def picked_quant(quant: Quant | None, axis: int, kept: Array) -> Quant | None:
    """The quantization of the kept channels, where it has one along that axis."""
    if quant is None or quant.axis != axis or len(quant.scale) <= 1:
        return quant
    return replace(quant, scale=tuple(quant.scale[i] for i in kept), zero_point=picked(quant.zero_point, kept))
