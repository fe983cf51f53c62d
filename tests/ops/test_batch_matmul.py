"""BATCH_MATMUL agrees with TFLite Micro, and the C with it in every tiling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_tflite, constant, tflite_graph

from mcuc.errors import McucError
from mcuc.ir import Graph


@dataclass(frozen=True)
class Case:
    """One product of [*left, rows, depth] and [*right, depth, columns]; the rest is random from the seed."""

    rows: int = 5
    depth: int = 12
    columns: int = 7
    left: tuple[int, ...] = ()
    right: tuple[int, ...] = ()
    adj_x: bool = False
    adj_y: bool = False
    constant: str = ""  # "x" or "y"
    zeros: tuple[int, int, int] | None = None


CASES = {
    "plain": Case(),
    "right turned": Case(adj_y=True),
    "left turned": Case(adj_x=True),
    "both turned": Case(adj_x=True, adj_y=True),
    "odd depth": Case(depth=13),
    "odd depth, right turned": Case(depth=15, adj_y=True),
    "depth 1": Case(depth=1),
    "depth 2, right turned": Case(depth=2, adj_y=True),
    "one row": Case(rows=1, columns=8),
    "one column": Case(columns=1),
    "one column, right turned": Case(columns=1, adj_y=True),
    "one element": Case(rows=1, columns=1, depth=1),
    "batches": Case(left=(3,), right=(3,)),
    "four axes, right turned": Case(left=(1, 4), right=(1, 4), adj_y=True, columns=6, depth=8),
    "five axes": Case(left=(2, 1, 3), right=(2, 1, 3), rows=2, depth=5),
    "right broadcast": Case(left=(2, 3), right=(1, 1)),
    "left broadcast": Case(left=(1,), right=(4,), rows=3),
    "crossed broadcast": Case(left=(2, 1), right=(1, 3), rows=3),
    "lower rank right": Case(left=(2, 3)),
    "constant right": Case(constant="y"),
    "constant right, turned": Case(constant="y", adj_y=True, left=(1, 2)),
    "constant right in batches": Case(constant="y", left=(2, 2), right=(2, 2)),
    "constant right broadcast": Case(constant="y", left=(2, 1), right=(1, 2)),
    "constant right, left turned": Case(constant="y", adj_x=True),
    "constant left": Case(constant="x"),
    "constant left in batches, turned": Case(constant="x", left=(1, 3), right=(2, 1), adj_x=True, rows=3),
    "lowest zero points": Case(zeros=(-128, -128, -128)),
    "highest zero points": Case(zeros=(127, 127, 127), adj_y=True),
    "no zero points": Case(zeros=(0, 0, 0)),
    "long sums": Case(rows=3, columns=5, depth=3000, zeros=(-128, 127, 3)),
}


def graph_of(case: Case, seed: int) -> Graph:
    """The graph with random scales and (where the case says nothing) zero points."""
    rng = RNG(seed)
    zeros = [int(z) for z in rng.integers(-128, 128, 3)] if case.zeros is None else list(case.zeros)
    shapes = []
    for batch, turned, size in ((case.left, case.adj_x, (case.rows, case.depth)),
                                (case.right, case.adj_y, (case.depth, case.columns))):
        shapes.append((*batch, *(size[::-1] if turned else size)))
    operands = []
    for name, shape, zero in zip("xy", shapes, zeros, strict=False):
        scale = float(2.0 ** rng.uniform(-8, -2))
        if name == case.constant:
            data = rng.integers(-128, 128, shape).astype(np.int8)
            operands.append(constant(name, data, (scale,), (zero,)))
        else:
            operands.append(activation(name, shape, scale, zero))
    spread = 74 * 74 * case.depth**0.5
    for t in operands:
        assert t.quant is not None
        spread *= t.quant.scale[0]
    batch = np.broadcast_shapes(case.left, case.right)
    out = activation("out", (*batch, case.rows, case.columns), float(spread / 2.0 ** rng.uniform(4, 6)), zeros[2])
    return tflite_graph("BATCH_MATMUL", operands, out, adjX=case.adj_x, adjY=case.adj_y)


@pytest.mark.parametrize("name", CASES)
def test_tflite_micro(name: str) -> None:
    check_tflite(graph_of(CASES[name], 1))


@pytest.mark.parametrize("seed", range(40))
def test_random_scales(seed: int) -> None:
    """The multiplier comes from the float32 product of the scales."""
    check_tflite(graph_of(Case(rows=16, columns=16, depth=9, adj_y=bool(seed % 2)), seed), seed=seed)


def test_c_in_all_tilings(tmp_path: Path) -> None:
    check_c([graph_of(case, 3) for case in CASES.values()], tmp_path, optimize=True)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(McucError, match="rank 2 to 5"):
        tflite_graph("BATCH_MATMUL", [activation("x", (4,)), activation("y", (4, 2))], activation("out", (2,)))
