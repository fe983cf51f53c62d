"""Weights of four bits, eight taps a word, taken apart as they are multiplied.

A byte of a word holds tap k in its lower half and tap k + 4 in its upper one, so that one mask leaves four weights
times 16 as bytes, and a shift and a mask the four others. Dual MACs sum 16 times the products; the division is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from mcuc.kernels._base import Call, No, Table
from mcuc.kernels._output import signed_words, values_of
from mcuc.targets import Chip

UNIT = 8  # taps of a word
PIXELS = 2
MOST_TAPS = 1 << 16  # 16 * 128 * 8 each, in 32 bits


def four_bits(call: Call, chip: Chip | None) -> No | None:
    """Refuses weights that the file holds in eight bits."""
    return None if call.params.get("int4") else No("weights of eight bits")


def applies(call: Call, chip: Chip | None) -> No | None:
    """The same, cores without DSP, and groups."""
    if chip is None or not chip.dsp:
        return No("needs the DSP extension")
    if call.params["groups"] != 1 or _taps(call) >= MOST_TAPS:
        return No("convolution in groups" if call.params["groups"] != 1 else f"{_taps(call)} taps")
    return four_bits(call, chip)


def _taps(call: Call) -> int:
    p = call.params
    return int(p["kh"] * p["kw"] * p["cin"])


def words_of(call: Call) -> Mapping[str, Any]:
    """Words of an output channel, the whole ones among them."""
    return {"words": -(-_taps(call) // UNIT), "whole": _taps(call) // UNIT}


def scratch(call: Call) -> int:
    """Widened activations of two pixels (of one where a row has no more), and their patches."""
    units = -(-_taps(call) // UNIT) * UNIT
    return min(PIXELS, call.width) * (2 * units + (0 if call.params["pointwise"] else units))


def context(call: Call) -> Mapping[str, Any]:
    """What the template names."""
    taps = _taps(call)
    return {
        **words_of(call),
        "taps": taps,
        "padded": -(-taps // UNIT) * UNIT,
        "widened": -(-taps // 4) * 2,  # words of a pixel that mcuc_widen writes
        "contiguous": call.params["dil_w"] == 1,
        "single": min(PIXELS, call.width) == 1,
    }


def tables(call: Call) -> tuple[Table, ...]:
    """The weights packed, the others as they are."""
    return _tables(call.tables)


@lru_cache(maxsize=512)
def _tables(found: tuple[Table, ...]) -> tuple[Table, ...]:
    channels = len(values_of(found, "bias"))
    weights = values_of(found, "weights").reshape(channels, -1)
    wide = np.zeros((channels, -(-weights.shape[1] // UNIT), 2, UNIT // 2), np.int64)
    wide.reshape(channels, -1)[:, : weights.shape[1]] = weights
    parts = wide & 0xF
    halves = parts[:, :, 0] | parts[:, :, 1] << 4  # [channel, word, byte]
    words = (halves << np.arange(0, 32, 8)).sum(-1)
    packed = Table("weights", "int32_t", signed_words(words))
    return tuple(packed if t.name == "weights" else t for t in found)
