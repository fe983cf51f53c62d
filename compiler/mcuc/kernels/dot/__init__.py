"""Dot family: convolution with groups, pointwise convolution and dense layers as dot products over a patch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mcuc.kernels._base import Call, Family, Kernel, always, no_scratch
from mcuc.kernels.dot import _halves, _nibbles, _pairs


def _scratch(call: Call) -> int:
    return 0 if call.params["pointwise"] else (_pairs.taps(call) + 3) & ~3


def _context(call: Call) -> Mapping[str, Any]:
    p = call.params
    return {
        "taps": _pairs.taps(call),
        "per_group": call.channels // p["groups"],
        "contiguous": p["dil_w"] == 1 and p["groups"] == 1,
    }


def _rows_of_four(call: Call) -> int:
    """Weights of four output channels."""
    return 4 * _pairs.taps(call) if call.params["groups"] == 1 and call.tables[0].name == "weights" else 0


def _pairs_kernel(
    name: str, pixels: int, per_mac: float, dual: bool = False, unrolled: int = _pairs.UNROLLED, asks: bool = False
) -> Kernel:
    return Kernel(
        name,
        "dot/pairs.c.j2",
        _pairs.far if asks else _pairs.dual_issue if dual else _pairs.applies,
        partial(_pairs.scratch, pixels=pixels, ahead=_pairs.AHEAD if dual else 0),
        partial(_pairs.context, pixels=pixels, dual=dual, unrolled=unrolled),
        tables=partial(_pairs.tables, ahead=dual),
        helpers=partial(_pairs.helpers, pixels=pixels, dual=dual, unrolled=unrolled, asks=asks),
        in_place=True,
        pixels=pixels,
        outputs=_pairs.CHANNELS,
        per_mac=per_mac,
        ahead=asks,
        front_to_back=True,
        group_bytes=_pairs.group_bytes,
    )


FAMILY = Family(
    "dot",
    (
        Kernel(
            "dot_nibbles",
            "dot/nibbles.c.j2",
            _nibbles.applies,
            _nibbles.scratch,
            _nibbles.context,
            in_place=True,
            tables=_nibbles.tables,
            pixels=_nibbles.PIXELS,
            outputs=2,
            per_mac=1.6,
        ),
        Kernel(
            "dot_nibbles_patch",
            "dot/nibbles_patch.c.j2",
            _nibbles.four_bits,
            _scratch,
            lambda call: {**_context(call), **_nibbles.words_of(call)},
            in_place=True,
            tables=_nibbles.tables,
            outputs=1,
            per_mac=6.0,
        ),
        _pairs_kernel("dot_pairs_ahead", 2, 1.0, dual=True, asks=True),
        _pairs_kernel("dot_pairs_dual", 2, 1.0, dual=True),
        _pairs_kernel("dot_pairs_dual_8", 2, 1.0, dual=True, unrolled=8),
        _pairs_kernel("dot_pairs", 2, 0.9),
        _pairs_kernel("dot_pairs_8", 2, 0.9, unrolled=8),
        _pairs_kernel("dot_pairs_one", 1, 1.15),
        Kernel(
            "dot_halves",
            "dot/halves.c.j2",
            _halves.applies,
            _scratch,
            _halves.context,
            tables=_halves.tables,
            in_place=True,
            helpers=_halves.helpers,
            outputs=_pairs.CHANNELS,
            per_mac=4.0,
        ),
        Kernel(
            "dot_patch",
            "dot/dot.c.j2",
            always,
            _scratch,
            _context,
            in_place=True,
            outputs=2,
            per_mac=2.4,
            group_bytes=_rows_of_four,
        ),
    ),
)

# A 1x1 convolution by groups of its input channels: partial sums group after group, then the output from the sums.
# Chosen by the schedule, not among the family's kernels for a whole layer.


def _sums_context(call: Call) -> Mapping[str, Any]:
    return {"outs": call.channels, "taps": _pairs.taps(call)}


PARTIAL = Kernel("dot_partial", "dot/partial.c.j2", always, no_scratch, _sums_context)
FINISH = Kernel("dot_finish", "dot/finish.c.j2", always, no_scratch, _sums_context)
