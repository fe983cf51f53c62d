"""One-hot rows, scatters, boxes that are replaced, fills: against TFLite Micro, or LiteRT where it has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import RNG, activation, check_c, check_file, check_tflite, constant, tflite_file, tflite_graph

from mcuc import passes
from mcuc.errors import McucError
from mcuc.importers import tflite as importer
from mcuc.ir import DType, Graph, Tensor
from mcuc.verify import oracle


def ints(name: str, values: object) -> Tensor:
    return constant(name, np.array(values, np.int32))


def typed(name: str, shape: tuple[int, ...], dtype: str = "int8") -> Tensor:
    return activation(name, shape, 0.05, -7) if dtype == "int8" else Tensor(name, shape, DType(dtype))


def one_hot(shape: tuple[int, ...], depth: int, dtype: str = "int32", axis: int = -1) -> Graph:
    values = [constant(n, np.array(v, np.int8), [0.05], [-7]) for n, v in (("on", 13), ("off", -7))]
    inputs = [typed("i", shape, dtype), ints("d", depth), *values]
    return tflite_graph("ONE_HOT", inputs, typed("y", (*shape, depth)), axis=axis)


def scatter(indices: object, shape: tuple[int, ...], dtype: str = "int8") -> Graph:
    places = ints("i", indices)
    depth = places.shape[-1]
    updates = typed("u", (*places.shape[:-1], *shape[depth:]), dtype)
    return tflite_graph("SCATTER_ND", [places, updates, ints("s", shape)], typed("y", shape, dtype))


def update(shape: tuple[int, ...], box: tuple[int, ...], dtype: str = "int8") -> Graph:
    inputs = [typed("x", shape, dtype), typed("u", box, dtype), typed("i", (len(shape),), "int32")]
    return tflite_graph("DYNAMIC_UPDATE_SLICE", inputs, typed("y", shape, dtype))


def test_one_hot_with_indices_outside_as_well() -> None:
    graph = one_hot((2, 3), 4)
    fed = [[np.array(v, np.int32).reshape(2, 3)] for v in ([0, 1, 2, 3, 4, -1], [3, 3, 0, 2**31 - 1, -(2**31), 1])]
    check_tflite(graph, inputs=fed, run=oracle.litert_reference)


@pytest.mark.parametrize("dtype", ["int8", "int32"])
@pytest.mark.parametrize(
    "indices, shape", [([[3], [0]], (5, 4)), ([[[1, 2], [0, 3]]], (2, 4)), ([[0, 1], [2, 0], [1, 1]], (3, 2, 3))]
)
def test_scatter(indices: object, shape: tuple[int, ...], dtype: str) -> None:
    check_tflite(scatter(indices, shape, dtype), 3, run=oracle.litert_reference)


@pytest.mark.parametrize("shape, box", [((4, 5), (2, 3)), ((2, 3, 4), (1, 3, 2)), ((1, 6, 3), (1, 1, 3)), ((7,), (2,))])
def test_update(shape: tuple[int, ...], box: tuple[int, ...]) -> None:
    graph, rng = update(shape, box), RNG(3)
    fed = [
        [rng.integers(-128, 128, s).astype(np.int8) for s in (shape, box)]
        + [rng.integers(-2, 8, len(shape)).astype(np.int32)]
        for _ in range(6)
    ]
    check_tflite(graph, inputs=fed)


def test_fill_by_a_value_of_run_time() -> None:
    check_file("FILL", [ints("d", [2, 3]), typed("v", ())], typed("y", (2, 3)))


def test_zeros_like_are_the_integer_0() -> None:
    blob = tflite_file("ZEROS_LIKE", [typed("x", (2, 3))], typed("y", (2, 3)))
    graph = importer.parse(blob, "case.tflite", "case")
    (found,) = oracle.tflite_micro(blob, [[np.ones((2, 3), np.int8)]])
    data = [graph.const(n) for n in graph.nodes[0].inputs]
    assert np.array_equal(found[0], np.full(data[0], data[1])) and not found[0].any()


@pytest.mark.parametrize(
    "kind, inputs, out, fields",
    [
        ("ONE_HOT", [typed("i", (3,), "int32"), ints("d", 4), ints("on", 1), ints("off", 0)], (3, 4), {"axis": -1}),
        ("ONE_HOT", [typed("i", (3,), "int32"), ints("d", 4), ints("on", 1), ints("off", 0)], (4, 3), {"axis": 0}),
        ("SCATTER_ND", [ints("i", [[1], [1]]), typed("u", (2, 3)), ints("s", [4, 3])], (4, 3), {}),
        ("SCATTER_ND", [ints("i", [[4]]), typed("u", (1, 3)), ints("s", [4, 3])], (4, 3), {}),
        ("SCATTER_ND", [ints("i", [[1]]), typed("u", (1, 2)), ints("s", [4, 3])], (4, 3), {}),
        ("DYNAMIC_UPDATE_SLICE", [typed("x", (2, 3)), typed("u", (3, 3)), typed("i", (2,), "int32")], (2, 3), {}),
        ("FILL", [ints("d", [2, 3]), typed("v", (2,))], (2, 3), {}),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: str, inputs: list[Tensor], out: tuple[int, ...], fields: dict[str, int]
) -> None:
    with pytest.raises(McucError, match=kind):
        tflite_graph(kind, inputs, typed("y", out), **fields)


def test_a_start_that_is_no_int32_is_refused() -> None:
    inputs = [typed("x", (2, 3)), typed("u", (1, 3)), typed("i", (2,), "int64")]
    graph = tflite_graph("DYNAMIC_UPDATE_SLICE", inputs, typed("y", (2, 3)))
    assert "int64" in passes.verdicts(graph)[0].problems[0]


def test_c_equals_the_reference_through_every_tiling(tmp_path: Path) -> None:
    cases = [
        one_hot((2, 3), 6, "int8"),
        one_hot((5,), 7, "int16"),
        one_hot((4,), 3),
        scatter([[3], [0]], (5, 4)),
        scatter([[0, 1], [2, 0], [1, 1]], (3, 2, 3), "int16"),
        update((4, 5), (2, 3)),
        update((2, 3, 4), (1, 3, 2), "int16"),
        update((7,), (2,), "int32"),
        tflite_graph("FILL", [ints("d", [2, 3]), typed("v", ())], typed("y", (2, 3))),
        tflite_graph("FILL", [ints("d", [2, 3]), typed("v", (), "int32")], typed("y", (2, 3), "int32")),
    ]
    check_c(cases, tmp_path, 6, optimize=True)
