"""Depthwise family: every output channel reads one input channel through a window."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np

from mcuc.kernels._base import Call, Family, Kernel, No, Table, always, no_scratch
from mcuc.kernels.depthwise import _words
from mcuc.targets import Chip


def _context(call: Call) -> Mapping[str, Any]:
    p = call.params
    return {
        "channels": call.channels,
        "four": p["multiplier"] == 1 and not p["wide"] and call.channels >= 4,
        "packed": 0,
    }


def _four_bits(call: Call, chip: Chip | None) -> No | None:
    return None if call.params.get("int4") else No("weights of eight bits")


def _halves_context(call: Call) -> Mapping[str, Any]:
    return {**_context(call), "packed": _halves(call.tables)[0].values.size}


def _unpacked(call: Call) -> int:
    """Bytes of the weights taken apart."""
    return (2 * _halves(call.tables)[0].values.size + 3) & ~3


@lru_cache(maxsize=512)
def _halves(found: tuple[Table, ...]) -> tuple[Table, ...]:
    """The weights two a byte, the first one in the lower half; the other tables as they are."""
    weights = next(t.values for t in found if t.name == "weights").astype(np.int64) & 0xF
    even = np.concatenate([weights, np.zeros(weights.size % 2, np.int64)])
    packed = Table("halves", "uint8_t", (even[::2] | even[1::2] << 4).astype(np.uint8))
    return (packed, *(t for t in found if t.name != "weights"))


def _words_kernel(name: str, dual: bool) -> Kernel:
    return Kernel(
        name,
        "depthwise/words.c.j2",
        _words.dual_issue if dual else _words.applies,
        no_scratch,
        _words.context,
        tables=_words.tables,
        helpers=partial(_words.helpers, dual=dual),
        per_mac=3.2,
    )


FAMILY = Family(
    "depthwise",
    (
        Kernel(
            "depthwise_nibbles",
            "depthwise/depthwise.c.j2",
            _four_bits,
            _unpacked,
            _halves_context,
            tables=lambda call: _halves(call.tables),
            per_mac=5.8,
        ),
        _words_kernel("depthwise_words_dual", dual=True),
        _words_kernel("depthwise_words", dual=False),
        Kernel("depthwise_taps", "depthwise/depthwise.c.j2", always, no_scratch, _context, per_mac=5.5),
    ),
)
