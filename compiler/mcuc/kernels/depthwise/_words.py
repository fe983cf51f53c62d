"""Depthwise convolution, four channels at a time: activations widened as they are read, weights widened in advance.

Weights are 256 times themselves where that fits 16 bits, so that sums come out as the output stage wants them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from mcuc.kernels._base import Call, No, Table
from mcuc.kernels._linear import SCALED, Linear
from mcuc.kernels._output import Rule, output_stage, rule_of, signed_words, values_of
from mcuc.targets import Chip

CHANNELS = 4  # of a group
UNROLLED = 9  # most kernel positions without a loop


def applies(call: Call, chip: Chip | None) -> No | None:
    """Refuses cores without DSP, several outputs of a channel, and layers without a group of channels."""
    if chip is None or not chip.dsp:
        return No("needs the DSP extension")
    if call.params["multiplier"] != 1:
        return No("several output channels of one input channel")
    if call.channels < CHANNELS:
        return No(f"fewer than {CHANNELS} channels")
    exact = _stage(call.tables, rule_of(call.params)) is not None
    return None if exact else No("no output stage of one multiply is exact")


def dual_issue(call: Call, chip: Chip | None) -> No | None:
    """The same, for cores that issue two instructions a cycle."""
    if chip is None or chip.core != "cortex-m7":
        return No("for cores that issue two instructions a cycle")
    return applies(call, chip)


def tables(call: Call) -> tuple[Table, ...]:
    """Groups of four channels: biases, weights and output constants, as they are read; a pixel of padding."""
    return _tables(call.tables, rule_of(call.params), bool(call.params["wide"]))


def context(call: Call) -> Mapping[str, Any]:
    """What the template names."""
    p = call.params
    stage = _stage(call.tables, rule_of(call.params))
    assert stage is not None
    taps = int(p["kh"] * p["kw"])
    return {
        "taps": taps,
        "constants": stage.words,
        "kinked": stage.kinked,
        "common": stage.common,
        "words": CHANNELS + 2 * taps + stage.words * CHANNELS,
        "inner": _inner(call) if _rows(call) else None,
    }


def helpers(call: Call, dual: bool) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """The inner loops, which layers share. dual: for cores that issue two instructions a cycle."""
    p = call.params
    stage = _stage(call.tables, rule_of(call.params))
    assert stage is not None
    taps = int(p["kh"] * p["kw"])
    values = {"kinked": stage.kinked, "common": stage.common, "wide": bool(p["wide"]), "dual": dual}
    positions = {**values, "taps": taps, "unrolled": taps <= UNROLLED}
    found: dict[str, tuple[str, Mapping[str, Any]]] = {"positions": ("depthwise/taps.c.j2", positions)}
    return {**found, "rows": ("depthwise/rows.c.j2", values)} if _rows(call) else found


def _rows(call: Call) -> bool:
    """Whether pixels without padding are found by three row pointers."""
    return (call.params["kh"], call.params["kw"], call.params["dil_w"]) == (3, 3, 1)


def _inner(call: Call) -> tuple[int, int]:
    """Output columns [first, last) whose 3 input columns all exist."""
    p = call.params
    return -(-p["pad_left"] // p["stride_w"]), max(0, (p["in_w"] - 3 + p["pad_left"]) // p["stride_w"] + 1)


@lru_cache(maxsize=512)
def _stage(found: tuple[Table, ...], rule: Rule) -> Linear | None:
    weights = values_of(found, "weights").reshape(-1, len(values_of(found, "bias"))).T
    return output_stage(found, rule, weights)


@lru_cache(maxsize=512)
def _tables(found: tuple[Table, ...], rule: Rule, wide: bool) -> tuple[Table, ...]:
    stage = _stage(found, rule)
    assert stage is not None
    bias = values_of(found, "bias")
    scale = 1 if wide else SCALED
    channels = -(-len(bias) // CHANNELS) * CHANNELS
    groups = channels // CHANNELS
    weights = np.zeros((len(values_of(found, "weights")) // len(bias), channels), np.int64)
    weights[:, : len(bias)] = scale * values_of(found, "weights").reshape(-1, len(bias))
    parts = weights.reshape(-1, groups, CHANNELS).transpose(1, 0, 2)  # [group, tap, channel]
    words = (parts[..., :2] & 0xFFFF) | (parts[..., 2:] & 0xFFFF) << 16  # channels 0 and 2, 1 and 3
    starts = np.zeros(channels, np.int64)
    starts[: len(bias)] = scale * bias
    stream = np.concatenate(
        [
            starts.reshape(groups, -1),
            words.reshape(groups, -1),
            stage.constants(channels).reshape(groups, -1),
        ],
        1,
    )
    return Table("weights", "int32_t", signed_words(stream)), next(t for t in found if t.name == "padding")
