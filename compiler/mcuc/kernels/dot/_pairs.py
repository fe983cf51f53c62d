"""Weights of two output channels in one word: 256 * high + low in each 16-bit half, one dual MAC more makes them two.

For activations a and a word of two taps, SMLAD with the word adds a * (256 * high + low), SMLAD with its sign-extended
low bytes adds a * low. The difference of both sums is 256 * (sum of a * high), exactly, in 32 bits wherever the high
channel's sum stays below 2^23. So int8 weights need one extension for two channels, and take no more room than int8.

A zero point of the weights is one more tap: minus the zero point times the sum of the pixel's activations, in parts
that fit 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mcuc.ir import Array
from mcuc.kernels._base import Call, No, Table
from mcuc.kernels._linear import SCALED, Linear
from mcuc.kernels._output import Product, Rule, output_stage, product_stage, rule_of, signed_words, values_of
from mcuc.targets import Chip

CHANNELS = 4  # of a group
UNIT = 4  # taps: activations are widened a word of bytes at a time
UNROLLED = 4  # units in the inner loop
AHEAD = 8  # bytes that the loop for two instructions a cycle loads beyond the last weights and activations
SUMMED = 64  # units whose activations' sum fits 16 bits
ORDER = (0, 2, 1, 3)  # of the taps of a unit, as SXTB16 and SXTB16 with a rotation leave them


@dataclass(frozen=True)
class Key:
    """What the tables depend on besides those of the call. weight_zp: of all channels, where they have no table; cin:
    bytes of a pixel of padding, 0 where none is read; row: taps of a window's row where its words are read in place."""

    rule: Rule
    weight_zp: int
    pad_value: int
    cin: int
    row: int


def applies(call: Call, chip: Chip | None) -> No | None:
    """Refuses cores without DSP, what fits_pairs refuses, and output stages that neither one multiply computes exactly
    nor an FPU."""
    if chip is None or not chip.dsp:
        return No("needs the DSP extension")
    refused = fits_pairs(call)
    if refused is not None:
        return refused
    stage = stage_of(call)
    if stage is None or (isinstance(stage, Product) and chip.fpu == "none"):
        return No("no output stage of one multiply is exact")
    return None


def fits_pairs(call: Call) -> No | None:
    """Refuses groups, and weights of which two do not fit a half."""
    if call.params["groups"] != 1:
        return No("convolution in groups")
    weights = _weights(call)
    odd = len(weights) // 2
    if ((weights[1::2] == -128) & (weights[: 2 * odd : 2] < 0)).any():
        return No("a pair of weights does not fit 16 bits")
    return None


def taps(call: Call) -> int:
    """Weights of an output channel."""
    return int(call.params["kh"] * call.params["kw"] * call.params["cin"])


def padded(call: Call) -> int:
    """The same, a multiple of UNIT."""
    return -(-taps(call) // UNIT) * UNIT


def dual_issue(call: Call, chip: Chip | None) -> No | None:
    """The same, for cores that issue two instructions a cycle."""
    if chip is None or chip.core != "cortex-m7":
        return No("for cores that issue two instructions a cycle")
    return applies(call, chip)


def far(call: Call, chip: Chip | None) -> No | None:
    """The same, for weights outside the chip behind a data cache: the loop asks for lines ahead (PLD)."""
    if chip is None or not chip.weights_in or not chip.caches.dcache_bytes:
        return No("for weights outside the chip, behind a data cache")
    return dual_issue(call, chip)


def scratch(call: Call, pixels: int, ahead: int = 0) -> int:
    """Widened activations of so many pixels (of one where a row has no more); their patches where taps lie apart."""
    widened = 2 * UNIT * (padded(call) // UNIT + sum_units(call))
    return ahead + min(pixels, call.width) * (widened if direct(call) else widened + padded(call))


def sum_units(call: Call) -> int:
    """Units of taps for the sums of activations, two sums each."""
    return -(-padded(call) // (2 * UNIT * SUMMED)) if call.params["weight_zp"] else 0


def direct(call: Call) -> bool:
    """Whether activations can be widened from where they lie, a word of channels at a time."""
    return bool(call.params["pointwise"]) or call.params["cin"] % UNIT == 0


def by_row(call: Call) -> bool:
    """Whether the words of a window's rows are widened from where they lie, and then what is left of each row."""
    return not direct(call) and call.params["dil_w"] == 1


def tables(call: Call, ahead: bool = False) -> tuple[Table, ...]:
    """Groups of four channels as they are read, biases, packed weights and constants of the output stage; a pixel of
    padding where rows are widened in place. ahead: the words end with some that are loaded and not used."""
    return _tables(call.tables, key_of(call), ahead)


def context(call: Call, pixels: int, dual: bool, unrolled: int = UNROLLED) -> Mapping[str, Any]:
    """What the template names. pixels: computed at once, 1 or 2; dual, unrolled: see helpers."""
    widened = padded(call) // UNIT
    units = widened + sum_units(call)
    stage = stage_of(call)
    assert stage is not None
    return {
        "taps": taps(call),
        "padded": padded(call),
        "widened": widened,
        "units": units,
        "skipped": -units % unrolled,
        "dual": dual,
        "direct": direct(call),
        "by_row": by_row(call),
        "contiguous": call.params["dil_w"] == 1,
        "single": min(pixels, call.width) == 1,
        "words": CHANNELS + UNIT * units + words_of_group(stage),  # of a group
    }


def group_bytes(call: Call) -> int:
    """Biases, weights and constants of a group of channels."""
    return 4 * int(context(call, 1, False)["words"])


def helpers(
    call: Call, pixels: int, dual: bool = False, unrolled: int = UNROLLED, asks: bool = False
) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """The inner loops, which layers share. dual: of two pixels, for cores that issue two instructions a cycle.
    unrolled: units in the loop. asks: for lines of weights before they are needed."""
    stage = stage_of(call)
    assert stage is not None
    residual = call.params["residual"]
    joined = 0 if residual is None else residual["shift"]
    values = {**stage_values(stage), "unrolled": unrolled, "joined": joined, "asks": asks}
    one = ("dot/pairs_one.c.j2", values)
    two = ("dot/pairs_two.c.j2", {**values, "dual": dual})
    return {"one": one} if min(pixels, call.width) == 1 else {"one": one, "two": two}


def stage_values(stage: Linear | Product) -> Mapping[str, Any]:
    """What templates know of a stage. product: the clamp of a float32 product, None for one multiply."""
    if isinstance(stage, Product):
        return {"product": (stage.low, stage.high), "kinked": False, "common": 0}
    return {"product": None, "kinked": stage.kinked, "common": stage.common}


def words_of_group(stage: Linear | Product) -> int:
    """Of the constants of CHANNELS channels."""
    return CHANNELS + 1 if isinstance(stage, Product) else CHANNELS * stage.words


def constants(stage: Linear | Product, channels: int) -> Array:
    """[groups, words]: the constants of the stage as groups of channels read them."""
    if isinstance(stage, Product):
        return stage.groups(channels, CHANNELS)
    return stage.constants(channels).reshape(channels // CHANNELS, -1)


def stage_of(call: Call) -> Linear | Product | None:
    """The output stage of the call's channels, of one multiply where one is exact for all of them."""
    return stage_of_tables(call.tables, key_of(call))


def linear_of(call: Call) -> Linear | None:
    """That of one multiply; None where no constants are exact."""
    found = stage_of(call)
    return found if isinstance(found, Linear) else None


def key_of(call: Call) -> Key:
    """What the tables of the call depend on besides those that it was lowered with."""
    p = call.params
    padding = 0 if p["pointwise"] or not direct(call) else p["cin"]
    row = p["kw"] * p["cin"] if by_row(call) else 0
    return Key(rule_of(p), p["weight_zp_all"] or 0, p["pad_value"], padding, row)


def _weights(call: Call) -> Array:
    return values_of(call.tables, "weights").reshape(call.channels, -1)


@lru_cache(maxsize=512)
def stage_of_tables(found: tuple[Table, ...], key: Key) -> Linear | Product | None:
    """The output stage from the tables."""
    weights = values_of(found, "weights").reshape(len(values_of(found, "bias")), -1)
    weights = weights - _zero_points(found, key.weight_zp)[:, None]
    return output_stage(found, key.rule, weights) or product_stage(found, key.rule, weights)


def _zero_points(found: tuple[Table, ...], of_all: int) -> Array:
    """Of the weights, one for each channel."""
    own = [t for t in found if t.name == "weight_zp"]
    return own[0].values.astype(np.int64) if own else np.full(len(values_of(found, "bias")), of_all, np.int64)


def _read_order(taps: int, row: int) -> Array:
    """The taps in the order in which they are widened: the words of every row, then what is left of each."""
    if not row:
        return np.arange(taps)
    whole = row // UNIT * UNIT
    rows = np.arange(taps).reshape(-1, row)
    return np.concatenate([rows[:, :whole].reshape(-1), rows[:, whole:].reshape(-1)])


@lru_cache(maxsize=512)
def _tables(found: tuple[Table, ...], key: Key, ahead: bool) -> tuple[Table, ...]:
    stage = stage_of_tables(found, key)
    assert stage is not None
    bias = values_of(found, "bias")
    weights = values_of(found, "weights").reshape(len(bias), -1)
    channels = -(-len(bias) // CHANNELS) * CHANNELS
    wide = np.zeros((channels, -(-weights.shape[1] // UNIT) * UNIT), np.int64)
    wide[: weights.shape[0], : weights.shape[1]] = weights[:, _read_order(weights.shape[1], key.row)]
    groups = channels // CHANNELS
    taken = wide.reshape(groups, 2, 2, -1, UNIT)[..., list(ORDER)]  # [group, pair, low or high, unit, tap]
    zero = np.zeros(channels, np.int64)
    zero[: len(bias)] = _zero_points(found, key.weight_zp)
    if zero.any():
        sums = -(-taken.shape[3] // SUMMED)
        both = np.stack([-zero // 2, -zero - -zero // 2], -1)  # 128 is not an int8, and a word has two taps
        more = np.zeros((channels, (sums + 1) // 2, UNIT), np.int64)
        for k in range(sums):
            more[:, k // 2, 2 * (k % 2) : 2 * (k % 2) + 2] = both
        taken = np.concatenate([taken, more.reshape(groups, 2, 2, -1, UNIT)], 3)
    halves = SCALED * taken[:, :, 1] + taken[:, :, 0]
    words = (halves[..., 0::2] & 0xFFFF) | (halves[..., 1::2] & 0xFFFF) << 16  # [group, pair, unit, half]
    stream = words.transpose(0, 2, 3, 1).reshape(groups, -1)
    starts = np.zeros(channels, np.int64)
    starts[: len(bias)] = bias
    low, high = starts.reshape(groups, 2, 2)[..., 0], starts.reshape(groups, 2, 2)[..., 1]
    first = np.stack([SCALED * high + low, low], -1).reshape(groups, -1)
    stream = np.concatenate([first, stream, constants(stage, channels)], 1)
    unused = np.zeros(AHEAD // 4 if ahead else 0, np.int64)
    stream = np.concatenate([stream.reshape(-1), unused])
    made = [Table("weights", "int32_t", signed_words(stream))]
    if key.cin:
        made.append(Table("padding", "int8_t", np.full(key.cin, key.pad_value, np.int8)))
    return tuple(made)
