"""Addition as a weighted sum equals the rule of three roundings for all pairs of bytes."""

from __future__ import annotations

import numpy as np
import pytest

from mcuc.ir import Requant
from mcuc.kernels.binary._weighted import weighted
from mcuc.numerics import quantize_multiplier
from mcuc.ops.add import reference
from mcuc.ops.add.attrs import LEFT_SHIFT, AddAttrs

EVERY = np.arange(-128, 128, dtype=np.int8)


def checked(scales: tuple[float, float, float], zeros: tuple[int, int, int], clamp: tuple[int, int],
            subtract: bool) -> bool:
    """Whether there is a sum, after comparing it with ops/add on every pair."""
    twice = 2 * max(scales[:2])
    rules = [quantize_multiplier(s / twice) for s in scales[:2]]
    last = quantize_multiplier(twice / ((1 << LEFT_SHIFT) * scales[2]))
    (ma, sa), (mb, sb), (mo, so) = *rules, last
    found = weighted(zeros[0], zeros[1], LEFT_SHIFT, subtract, ma, sa, mb, sb, mo, so, zeros[2], *clamp)
    if found is None:
        return False
    first, second, offset, shift, wide = found
    sums = first * EVERY.astype(np.int64)[:, None] + second * EVERY.astype(np.int64)[None] + offset
    assert wide or (np.abs(sums) < 2**31).all()
    assert max(abs(first), abs(second)) < 2**31
    requants = tuple(Requant("tflite_double", (m,), (s,)) for m, s in (*rules, last))
    attrs = AddAttrs(zeros[:2], requants[:2], requants[2], zeros[2], clamp, subtract)  # type: ignore[arg-type]
    a, b = np.meshgrid(EVERY, EVERY, indexing="ij")
    assert (np.clip(sums >> shift, *clamp) == reference(attrs, (a, b))[0]).all()
    return True


@pytest.mark.parametrize("subtract", [False, True])
def test_nearly_every_addition_has_one(subtract: bool) -> None:
    rng = np.random.default_rng(5)
    found = []
    for n in range(60):
        a, b = 2.0 ** rng.uniform(-7, -3, 2)
        y = (a + b) * 2.0 ** rng.uniform(-2, 0.5)
        clamp = ((-128, 127), (-128, 60), (-17, 127))[n % 3]
        found.append(checked((a, b, y), tuple(rng.integers(-128, 128, 3).tolist()), clamp, subtract))
    assert found.count(False) <= 3


def test_equal_powers_of_two_tie_and_are_compared_all_the_same() -> None:
    assert checked((0.5, 0.5, 1.0), (0, 0, 0), (-128, 127), False)
    assert checked((0.25, 0.25, 0.25), (3, -7, 1), (-128, 127), False)


def test_inputs_whose_multipliers_are_zero_keep_the_rule() -> None:
    """An output scale so large that nothing of either input is left."""
    assert quantize_multiplier(1e-12) == (0, 0)
    half = quantize_multiplier(0.5)
    assert weighted(0, 0, LEFT_SHIFT, False, *half, *half, 0, 0, 0, -128, 127) is None
