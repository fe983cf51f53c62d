"""Four output channels in a word of weights a tap, for cores that multiply 32 bits by 32 and nothing else.

Each 16-bit half holds 256 * high + low, as in _pairs.py: of two multiplications, one takes the half and one its
sign-extended low byte, and the high channel's sum is the difference, already multiplied by 256. So int8 weights are
loaded four at a time, and cores without a byte-load that counts up need one load for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from mcuc.kernels._base import Call, No, Table
from mcuc.kernels._linear import SCALED, Linear
from mcuc.kernels._output import signed_words, values_of
from mcuc.kernels.dot._pairs import CHANNELS, UNROLLED, Key, fits_pairs, key_of, linear_of, stage_of_tables, taps
from mcuc.targets import Chip

CORES = ("cortex-m0plus", "cortex-m3")


def applies(call: Call, chip: Chip | None) -> No | None:
    """Refuses cores with a dual multiplier, what _pairs.py refuses of weights, and output stages that no constants make
    exact."""
    if chip is None or chip.core not in CORES:
        return No("for cores without a dual multiplier")
    refused = fits_pairs(call)
    if refused is None and linear_of(call) is None:
        return No("no output stage of one multiply is exact")
    return refused


def tables(call: Call) -> tuple[Table, ...]:
    """Packed weights with biases, the constants of the output stage, zero points of the weights where they differ."""
    return _tables(call.tables, key_of(call))


def context(call: Call) -> Mapping[str, Any]:
    """What the template names."""
    stage = linear_of(call)
    assert stage is not None
    return {
        "taps": taps(call),
        "words": taps(call) + CHANNELS,  # of a group
        "skipped": -taps(call) % UNROLLED,
        "contiguous": call.params["dil_w"] == 1,
        "kinked": stage.kinked,
        "common": stage.common,
        "constants": stage.words,
    }


def helpers(call: Call) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """The inner loop, which layers share."""
    return {"sums": ("dot/halves_sums.c.j2", {"unrolled": UNROLLED})}


@lru_cache(maxsize=512)
def _tables(found: tuple[Table, ...], key: Key) -> tuple[Table, ...]:
    bias = values_of(found, "bias")
    weights = values_of(found, "weights").reshape(len(bias), -1)
    channels = -(-len(bias) // CHANNELS) * CHANNELS
    wide, starts = np.zeros((channels, weights.shape[1]), np.int64), np.zeros(channels, np.int64)
    wide[: len(bias)], starts[: len(bias)] = weights, bias
    pairs = wide.reshape(-1, 2, 2, weights.shape[1])  # [group, pair, low or high, tap]
    halves = SCALED * pairs[:, :, 1] + pairs[:, :, 0]
    words = (halves[:, 0] & 0xFFFF) | (halves[:, 1] & 0xFFFF) << 16
    low, high = starts.reshape(-1, 2, 2)[..., 0], starts.reshape(-1, 2, 2)[..., 1]
    first = np.stack([SCALED * high + low, low], -1).reshape(len(words), -1)
    stage = stage_of_tables(found, key)
    assert isinstance(stage, Linear)
    made = (
        Table("weights", "int32_t", signed_words(np.concatenate([first, words], 1))),
        Table("output", "int32_t", signed_words(stage.constants(channels))),
    )
    return made + tuple(t for t in found if t.name == "weight_zp")
