"""A product p = (a - za) * (b - zb) rescaled by one multiplication: (p * scale + offset) >> shift, exact on all pairs.

Both profiles' rules are monotone in the product: for every output there is a least product that reaches it. A scale of
31 bits and an offset that have the same thresholds compute the same; all products of two bytes are compared. gemmlowp
rounds ties of negative products away from zero, for which those have an offset of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import floor, log2
from typing import Any

import numpy as np

from mcuc.ir import Requant
from mcuc.kernels._base import Call, No
from mcuc.kernels.binary._weighted import offset_of
from mcuc.numerics import requantize, round24, round_even
from mcuc.targets import Chip

_BYTES = np.arange(-128, 128, dtype=np.int64)
_NEAR = (0, 1, -1, 2, -2, 3, -3, 4, -4)
_RULE = ("mo", "so", "out_zp")
_STEPS = ("multiplier", "fixed", "fraction", "out_offset")
Scaled = tuple[int, int, int, int]


def applies(call: Call, chip: Chip | None) -> No | None:
    """Refuses what is no product, and products that no multiplication rescales exactly."""
    if call.params["kind"] not in ("mul", "qlinear_mul"):
        return No("not a product")
    return None if _found(call) is not None else No("no multiplication is exact")


def context(call: Call) -> Mapping[str, Any]:
    """What the template names."""
    found = _found(call)
    assert found is not None
    return {**dict(zip(("scale", "offset", "below", "shift"), found, strict=True)), "channels": call.channels}


def _found(call: Call) -> Scaled | None:
    steps = call.params["kind"] == "qlinear_mul"
    rule = tuple(call.params[name] for name in (_STEPS if steps else _RULE))
    return scaled(*(call.params[name] for name in ("za", "zb", "act_min", "act_max")), steps, rule)


@lru_cache(maxsize=4096)
def scaled(za: int, zb: int, act_min: int, act_max: int, steps: bool, rule: tuple[int, ...]) -> Scaled | None:
    """scale, offset, offset of negative products, shift for the constants of ops/qlinear_mul (steps) or of ops/mul;
    None where none is exact."""
    products = np.unique((_BYTES - za)[:, None] * (_BYTES - zb)[None])
    if steps:
        multiplier, fixed, fraction, out_offset = rule
        total = round24(round24(products * multiplier) + fixed)
        out = np.clip(round_even(total, fraction) - out_offset, act_min, act_max)
        ratio = multiplier / 2**fraction
    else:
        mo, so, out_zp = rule
        requant = Requant("tflite_double", (mo,), (so,))
        out = requantize(products.reshape(-1, 1), requant, out_zp, act_min, act_max).reshape(-1).astype(np.int64)
        ratio = mo * 2.0 ** (so - 31)
    if not 0 < ratio < 2**13:
        return None
    shift = min(floor(30.9 - log2(ratio)), 44)  # the products have 17 bits, the scale 31
    for near in _NEAR if shift >= 1 else ():
        scale = round(ratio * 2**shift) + near
        if not 0 < scale < 2**31:
            continue
        sums, negative, far = products * scale, products < 0, 2 ** min(shift + 20, 60)
        both = offset_of(sums, out, shift, act_min, act_max, far)
        if both is not None:
            return scale, both, both, shift
        above, below = (offset_of(sums[k], out[k], shift, act_min, act_max, far) for k in (~negative, negative))
        if above is not None and below is not None:
            return scale, above, below, shift
    return None
