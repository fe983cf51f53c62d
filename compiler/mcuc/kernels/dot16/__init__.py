"""Dot16 family: convolutions and dense layers of int16 activations and int8 weights, as dot products over a patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mcuc.ir import Array
from mcuc.kernels._base import Call, Family, Kernel, No, Table, always
from mcuc.kernels._output import signed_words
from mcuc.targets import Chip


def _scratch(call: Call) -> int:
    return 0 if call.params["pointwise"] else (2 * int(call.params["taps"]) + 3) & ~3


def _context(call: Call) -> Mapping[str, Any]:
    p = call.params
    return {"per_group": p["outs"] // p["groups"], "contiguous": p["dil_w"] == 1 and p["groups"] == 1}


def _words_apply(call: Call, chip: Chip | None) -> No | None:
    if chip is None or not chip.dsp:
        return No("needs the DSP extension")
    p = call.params
    if p["groups"] != 1 or p["outs"] < 2 or p["taps"] < 2:
        return No("convolution in groups, or one channel or tap")
    first, second = _pairs(call)
    return No("a pair of weights does not fit 16 bits") if ((second == -128) & (first < 0)).any() else None


def _pairs(call: Call) -> tuple[Array, Array]:
    """The weights of the first and the second channel of each pair, [pairs, taps]."""
    p = call.params
    weights = call.tables[0].values.reshape(p["outs"], p["taps"]).astype(np.int64)
    return weights[0 : p["outs"] - 1 : 2], weights[1::2]


def _words_tables(call: Call) -> tuple[Table, ...]:
    """A word for two taps of two channels, 256 * second + first in each half; then what is left over: the last tap of
    an odd number, and the last channel."""
    p = call.params
    first, second = _pairs(call)
    halves = (256 * second + first) & 0xFFFF
    even = p["taps"] // 2 * 2
    words = halves[:, 0:even:2] | halves[:, 1:even:2] << 16
    tables = [Table("words", "int32_t", signed_words(words))]
    if p["taps"] % 2:
        tables.append(Table("last", "int16_t", (256 * second + first)[:, -1]))
    if p["outs"] % 2:
        tables.append(Table("single", "int8_t", call.tables[0].values[-p["taps"] :]))
    return (*tables, *call.tables[1:])


FAMILY = Family(
    "dot16",
    (
        Kernel(
            "dot16_words", "dot16/words.c.j2", _words_apply, _scratch, _context, tables=_words_tables, outputs=2,
            per_mac=1.6,
        ),
        Kernel("dot16_patch", "dot16/dot.c.j2", always, _scratch, _context, outputs=2, per_mac=2.5),
    ),
)
