"""SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_ALL over any axes agree with TFLite Micro, REDUCE_ANY (not there) with LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import (
    RNG,
    activation,
    assert_equal,
    check_c,
    check_tflite,
    check_uint8,
    constant,
    run_reference,
    samples,
    tflite_graph,
)

from mcuc import ops
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.ir import DType, Graph, Tensor
from mcuc.verify import oracle

AXES = [(1,), (2,), (3,), (1, 2), (2, 1), (1, 3), (2, 3), (1, 2, 3), (-1,), (-2, -3), (0,), (0, 2)]
SHAPES = [((1, 12, 5), (1,)), ((1, 9), (1,)), ((6, 4), (0,)), ((1, 1, 1, 8), (1, 2)), ((3, 4, 2, 5), (0, 2)),
          ((3, 4, 2, 5), (1, 3)), ((3, 4, 2, 5), (1,)), ((2, 3, 4), (2,)), ((1, 64, 33, 3), (1, 2))]


def graph_of(kind: str, shape: tuple[int, ...], axes: tuple[int, ...], keep: bool = False,
             scales: tuple[float, float] = (0.05, 0.4), zero_points: tuple[int, int] = (-7, 11)) -> Graph:
    gone = {a % len(shape) for a in axes}
    out = tuple(1 if i in gone else d for i, d in enumerate(shape) if keep or i not in gone)
    axis = constant("axes", np.array(axes, np.int32))
    if kind in ("REDUCE_ANY", "REDUCE_ALL"):
        return tflite_graph(kind, [Tensor("x", shape, DType.BOOL), axis], Tensor("y", out, DType.BOOL), keepDims=keep)
    x = activation("x", shape, scales[0], zero_points[0])
    y = activation("y", out, scales[1], zero_points[1]) if kind == "SUM" else activation("y", out, scales[0],
                                                                                        zero_points[0])
    return tflite_graph(kind, [x, axis], y, keepDims=keep)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", ["SUM", "REDUCE_MAX", "REDUCE_MIN"])
def test_axes(kind: str, axes: tuple[int, ...], keep: bool) -> None:
    check_tflite(graph_of(kind, (1, 5, 7, 6), axes, keep))


@pytest.mark.parametrize("shape,axes", SHAPES)
@pytest.mark.parametrize("kind", ["SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL"])
def test_shapes(kind: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    check_tflite(graph_of(kind, shape, axes))


@pytest.mark.parametrize("seed", range(25))
def test_sums_of_random_scales(seed: int) -> None:
    rng = RNG(seed)
    scale = float(2.0 ** rng.uniform(-8, 3))
    zero_points = tuple(int(z) for z in rng.integers(-128, 128, 2))
    h, w, c = (int(n) for n in rng.integers(1, 12, 3))
    out = scale * float(2.0 ** rng.uniform(-1, 6))
    check_tflite(graph_of("SUM", (1, h, w, c), (1, 2), bool(seed % 2), (scale, out), zero_points), seed=seed)


@pytest.mark.parametrize("kind", ["REDUCE_ANY", "REDUCE_ALL"])
def test_truth_values_agree_with_litert(kind: str) -> None:
    graph = graph_of(kind, (1, 5, 2, 3), (1, 2))
    inputs, blob = samples(graph, 12), exporter.export(graph)
    assert_equal(oracle.litert_reference(blob, inputs), run_reference(graph, inputs), "reference against LiteRT")


@pytest.mark.parametrize("kind", ["REDUCE_MAX", "REDUCE_MIN"])
def test_uint8(kind: str) -> None:
    check_uint8(graph_of(kind, (1, 5, 7, 6), (1, 2)))


def test_c_in_all_tilings(tmp_path: Path) -> None:
    graphs = [graph_of(kind, (1, 5, 7, 6), axes) for axes in AXES for kind in ("SUM", "REDUCE_MAX", "REDUCE_MIN")]
    graphs += [graph_of(kind, shape, axes, True) for shape, axes in SHAPES for kind in ("SUM", "REDUCE_MAX")]
    graphs += [graph_of(kind, (3, 4, 2, 5, 2), (1, 3)) for kind in ("SUM", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL")]
    check_c(graphs, tmp_path)


def test_six_dimensions_kept_in_turns_are_refused() -> None:
    graph = graph_of("SUM", (2, 3, 2, 3, 2, 3), (0, 2, 4))
    node = graph.nodes[0]
    assert any("axes (0, 2, 4)" in (limit(node, graph) or "") for limit in ops.get(node.op).limits)


def test_an_axis_out_of_range_is_refused() -> None:
    with pytest.raises(McucError, match="rank 4"):
        graph_of("SUM", (1, 5, 7, 6), (1, 4 - 9))


def test_a_maximum_in_another_scale_is_refused() -> None:
    x, axis = activation("x", (1, 4), 0.5), constant("axes", np.array([1], np.int32))
    with pytest.raises(McucError, match="different scales"):
        tflite_graph("REDUCE_MAX", [x, axis], activation("y", (1,), 0.25))
