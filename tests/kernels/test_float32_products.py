"""Kernels that round as ONNX Runtime, by the FPU: dense layers that no stage of one multiply fits and products of
matrices, byte for byte in every tiling, at the ends of what sums can be and at ties."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))

from harness import (
    M4,
    OWN_KERNELS,
    RNG,
    activation,
    check_c,
    check_emulated,
    constant,
    merged,
    ranked,
    run_reference,
    samples,
    side_by_side,
)

from mcuc import passes
from mcuc.ir import Array, Graph, Node, Requant, check
from mcuc.kernels._base import Table
from mcuc.kernels._output import Rule, product_stage
from mcuc.kernels.dot import _pairs
from mcuc.numerics import requantize
from mcuc.ops._conv import ConvAttrs
from mcuc.ops._matmul import MatmulAttrs

CORES = (M4, next(board for board, kind in OWN_KERNELS.items() if kind == "dual"))


@dataclass(frozen=True)
class Product:
    """Random operands [rows, depth] and [depth, columns] with these zero points; turned: how the right one lies."""

    rows: int
    depth: int
    columns: int
    zeros: tuple[int, int] = (-128, 3)
    turned: bool = False
    left_turned: bool = False
    batch: int = 1
    clamp: tuple[int, int] = (-128, 127)


PRODUCTS = {
    "scores": Product(5, 64, 7, (4, -9), turned=True),
    "scores, batches": Product(3, 12, 8, (127, -128), turned=True, batch=2),
    "scores, one unit": Product(4, 4, 3, (-128, 127), turned=True),
    "scores, clamped": Product(2, 20, 5, turned=True, clamp=(-7, 100)),
    "values": Product(4, 21, 8),
    "values, columns left over": Product(3, 16, 11, (-128, 127)),
    "values, two taps": Product(2, 2, 4, (5, -128)),
    "values, three taps": Product(2, 3, 5, (127, 127)),
    "values, left turned": Product(5, 23, 4, (0, 0), left_turned=True),
    "values, far rows": Product(2, 9, 700, (-128, 1)),
    "the longest sums of values": Product(2, 257, 4, (-128, -128)),
    "the longest sums of scores": Product(2, 256, 4, (-128, -128), turned=True),
}


def product(case: Product, seed: int) -> Graph:
    """batch_matmul under ONNX's rule, its scale so that results fill a byte."""
    rng = RNG(seed)
    shapes = [(case.depth, case.rows) if case.left_turned else (case.rows, case.depth),
              (case.columns, case.depth) if case.turned else (case.depth, case.columns)]
    x, y = (activation(n, (case.batch, *s), 0.05, z) for n, s, z in zip("xy", shapes, case.zeros, strict=True))
    scale = float(np.float32(2.0 ** rng.uniform(-7, -6) / case.depth**0.5))
    attrs = MatmulAttrs(Requant("f32_rne", scale=(scale,)), int(rng.integers(-20, 20)), case.clamp,
                        input_zero_point=case.zeros[0], weight_zero_point=(case.zeros[1],), adj_x=case.left_turned,
                        adj_y=case.turned)
    out = activation("out", (case.batch, case.rows, case.columns))
    node = Node("0:product", "batch_matmul", ("x", "y"), ("out",), attrs)
    return check(Graph("case", "onnx", {t.name: t for t in (x, y, out)}, (node,), ("x", "y"), ("out",)))


def dense(seed: int, taps: int, biases: Array, clamp: tuple[int, int] = (-128, 127), spread: int = 127) -> Graph:
    """Two pixels and one of a dense layer with these biases, a scale of its own for each channel or (even seeds) one.
    """
    rng, channels = RNG(seed), len(biases)
    scales = 2.0 ** rng.uniform(-13, -10, channels if seed % 2 else 1)
    x = activation("x", (1, 3, taps))
    w = constant("w", rng.integers(-spread, spread + 1, (channels, taps)).astype(np.int8), (0.01,))
    b = constant("b", biases.astype(np.int32))
    attrs = ConvAttrs(Requant("f32_rne", scale=tuple(float(np.float32(s)) for s in scales)),
                      int(rng.integers(-40, 40)), clamp)
    node = Node("0:dense", "fully_connected", ("x", "w", "b"), ("out",), attrs)
    out = activation("out", (1, 3, channels))
    return check(Graph("case", "onnx", {t.name: t for t in (x, w, b, out)}, (node,), ("x",), ("out",)))


@pytest.fixture
def no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no layer had a stage of one multiply."""
    monkeypatch.setattr(_pairs, "output_stage", lambda *_: None)


def on_cores(graphs: list[Graph], inputs: list[list[Array]], folder: Path, named: str) -> None:
    """The first kernels that apply on each core are those named so, and equal the reference on the last input."""
    whole = merged(graphs)
    expected = run_reference(whole, inputs)
    lowered = passes.optimize(whole)
    for board in CORES:
        schedule = ranked(lowered, ((0, "1-row"),), board)
        assert all(named in k.id for layer in schedule.layers for _, k in layer.calls)
        check_emulated(lowered, schedule, side_by_side(lowered, schedule), inputs, expected, folder / board, board)


def test_products_of_matrices_in_all_tilings(tmp_path: Path) -> None:
    check_c([product(case, i) for i, case in enumerate(PRODUCTS.values())], tmp_path, optimize=True)


def test_products_of_the_extremes(tmp_path: Path) -> None:
    """All bytes lowest, all highest: the sums that decide whether a loop for two columns at once applies."""
    graphs = [product(case, i) for i, case in enumerate(PRODUCTS.values())]
    for n, extremes in enumerate(samples(merged(graphs), 2)):
        on_cores(graphs, [extremes], tmp_path / str(n), "matmul_products")


def test_longer_sums_go_to_another_loop() -> None:
    for case in (Product(2, 258, 4, (-128, -128)), Product(2, 260, 4, (-128, -128), turned=True)):
        (layer,) = ranked(product(case, 0), ((0, "1-row"),)).layers
        assert layer.calls[0][1].id == "matmul_pairs"


@pytest.mark.usefixtures("no_line")
def test_dense_layers_in_all_tilings(tmp_path: Path) -> None:
    rng = RNG(0)
    cases = [dense(k, taps, rng.integers(-20_000, 20_001, channels), clamp) for k, (taps, channels, clamp) in
             enumerate([(16, 8, (-128, 127)), (13, 7, (-128, 127)), (70, 5, (-30, 127)), (33, 12, (-128, 90))])]
    check_c(cases, tmp_path, optimize=True)


@pytest.mark.usefixtures("no_line")
def test_dense_layers_at_ties(tmp_path: Path) -> None:
    """With an input of zeros the bias is the sum: around every threshold, among them products that float32 rounds to a
    tie, and far beyond the bytes."""
    graphs = []
    for seed in (2, 4, 6):
        probe = dense(seed, 4, np.zeros(1), spread=1)
        scale = probe.nodes[0].attrs.requant.scale[0]
        near = np.rint((np.arange(-150, 150) + 0.5) / scale)
        ends = np.array([0, 1, -1, 2**23 - 600, 600 - 2**23])
        graphs.append(dense(seed, 4, np.concatenate([near - 1, near, near + 1, ends]), spread=1))
    ties = [np.float32(b) * np.float32(g.nodes[0].attrs.requant.scale[0]) % 1 == 0.5
            for g in graphs for b in g.tensors["b"].data]  # type: ignore[union-attr]
    assert sum(ties) > 10
    on_cores(graphs, [[np.zeros((1, 3, 4), np.int8)] * 3], tmp_path, "dot_pairs")


def test_the_stage_of_a_product_is_the_rule() -> None:
    """256 times a sum times the 256th of the scale, in float32, for every sum of a channel."""
    for seed in range(8):
        rng = RNG(seed)
        scale, weights = np.float32([2.0 ** rng.uniform(-14, -4)]), rng.integers(-127, 128, (1, 40))
        bias = rng.integers(-(2**20), 2**20, 1)
        tables = Table("bias", "int32_t", bias), Table("scale", "int32_t", scale.view(np.int32))
        stage = product_stage(tables, Rule("f32_rne", 5, -128, 127), weights)
        assert stage is not None
        reach = int(np.abs(weights).sum() * 128)
        acc = np.arange(int(bias[0]) - reach, int(bias[0]) + reach + 1)
        staged = np.rint((256 * acc).astype(np.float32) * stage.scale.view(np.float32)).astype(np.int64)
        wanted = requantize(acc[:, None], Requant("f32_rne", scale=(float(scale[0]),)), 5, -128, 127)[:, 0]
        assert np.array_equal(np.clip(staged + stage.zero_point, stage.low, stage.high), wanted)


@pytest.mark.parametrize(("rule", "scale", "bias"), [
    ("tflite_double", 0.001, 0), ("f32_rne", 0.001, 2**23), ("f32_rne", 2.0**10, 2**20), ("f32_rne", 2.0**-110, 0)])
def test_no_stage_of_a_product_beyond_its_range(rule: str, scale: float, bias: int) -> None:
    tables = (Table("bias", "int32_t", np.array([bias])),
              Table("scale", "int32_t", np.float32([scale]).view(np.int32)))
    assert product_stage(tables, Rule(rule, 0, -128, 127), np.ones((1, 4), np.int64)) is None
