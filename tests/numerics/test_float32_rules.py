"""The float32 rules in integers: numerics.py against NumPy's float32, runtime_c/mcuc_math.h against numerics.py."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from mcuc.numerics import f32_rne, round24, round_even
from mcuc.toolchain import build_host_executable, runtime_folder

EDGES = np.array(
    [
        0,
        1,
        -1,
        2,
        3,
        5,
        2**24 - 1,
        2**24,
        2**24 + 1,
        2**24 + 3,
        -(2**24) - 1,
        2**25 + 2,
        2**25 + 6,
        2**31 - 1,
        -(2**31),
        2**30 + 64,
        2**30 + 192,
    ],
    np.int64,
)


def accumulators(rng: np.random.Generator, count: int) -> np.ndarray:
    """int32 values of every magnitude."""
    return rng.integers(-(2**31), 2**31, count) >> rng.integers(0, 31, count)


def scales(rng: np.random.Generator, count: int) -> np.ndarray:
    return (2.0 ** rng.uniform(-30, 3, count)).astype(np.float32)


def plain(acc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The rule in float32 itself, saturated as the integer form is."""
    product = acc.astype(np.int64).astype(np.float32) * scale.astype(np.float32)
    return np.clip(np.rint(product).astype(np.float64), -(2.0**30), 2.0**30).astype(np.int64)


def test_f32_rne_equals_float32_on_random_values() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        acc, scale = accumulators(rng, 1_000_000), scales(rng, 1_000_000)
        assert np.array_equal(plain(acc, scale), f32_rne(acc, scale))


def test_f32_rne_equals_float32_on_ties() -> None:
    """Scales that are powers of two, their neighbours and odd multiples put results on and beside n + 1/2."""
    acc = np.concatenate([EDGES, np.arange(-4096, 4097), np.arange(2**24 - 300, 2**24 + 300)])
    for exponent in range(-26, 4):
        for factor in (1.0, 3.0, 1 / 3, 5 / 7):
            one = np.float32(factor * 2.0**exponent)
            for scale in (one, np.nextafter(one, np.float32(0)), np.nextafter(one, np.float32(1e9))):
                every = np.full(acc.shape, scale, np.float32)
                assert np.array_equal(plain(acc, every), f32_rne(acc, every)), float(scale)


def test_f32_rne_at_the_ends_of_its_range() -> None:
    for scale in (np.float32(1e-38), np.float32(2.0**-60), np.float32(2.0**23), np.float32(2.0**30)):
        every = np.full(EDGES.shape, scale, np.float32)
        assert np.array_equal(plain(EDGES, every), f32_rne(EDGES, every)), float(scale)


def test_round24_is_what_float32_keeps() -> None:
    rng = np.random.default_rng(1)
    v = np.concatenate([EDGES, rng.integers(-(2**61), 2**61, 1_000_000) >> rng.integers(0, 61, 1_000_000)])
    assert np.array_equal(v.astype(np.float32).astype(np.int64), round24(v))


@pytest.mark.parametrize("shift", [0, 1, 7, 24, 52])
def test_round_even(shift: int) -> None:
    v = np.arange(-70000, 70001) * (1 if shift < 24 else 2 ** (shift - 10) // 2)
    exact = [round(int(x) / 2**shift) if shift else int(x) for x in v]  # Python rounds half to even; exact below 2^53
    assert np.array_equal(np.array(exact), round_even(v, shift))


PROGRAM = """
#include <stdio.h>
#include "mcuc_math.h"
int main(void)
{
    int32_t pair[2];
    while (fread(pair, 4, 2, stdin) == 2) {
        const int64_t wide = (int64_t)pair[0] * pair[1];
        const int64_t out[4] = {mcuc_requant_f32(pair[0], pair[1] & 0x7FFFFFFF), mcuc_round24(wide), 
                                mcuc_round_even(wide, (pair[1] & 0x7FFFFFFF) % 63),
                                mcuc_float_to_int(mcuc_float_of(pair[1]))};
        fwrite(out, 8, 4, stdout);
    }
    return 0;
}
"""


def test_c_equals_numerics(tmp_path: Path) -> None:
    source = tmp_path / "rules.c"
    source.write_text(PROGRAM)
    program = build_host_executable([source], [runtime_folder()], tmp_path / "rules", sanitize=True, extra_flags=())
    rng = np.random.default_rng(2)
    acc = np.concatenate([accumulators(rng, 400_000), np.repeat(EDGES, 1000)])
    scale = scales(rng, acc.size).view(np.int32)
    scale[::7] = np.float32(0.5).view(np.int32)
    scale[::11] = np.float32(2.0**-9).view(np.int32)
    pairs = np.stack([acc.astype(np.int32), scale], axis=1)
    done = subprocess.run([program], input=pairs.tobytes(), capture_output=True, check=True, timeout=120)
    found = np.frombuffer(done.stdout, np.int64).reshape(-1, 4)
    wide = acc * scale.astype(np.int64)
    assert np.array_equal(f32_rne(acc, scale.view(np.float32)), found[:, 0])
    assert np.array_equal(round24(wide), found[:, 1])
    assert np.array_equal(round_even(wide, scale.astype(np.int64) % 63), found[:, 2])
    assert np.array_equal(np.rint(scale.view(np.float32)).astype(np.int64), found[:, 3])
