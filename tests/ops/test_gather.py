"""Gathers by constant and run-time indices: reference against TFLite Micro, C against the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import (
    RNG,
    activation,
    check_c,
    check_file,
    check_tflite,
    check_uint8,
    constant,
    run_reference,
    tflite_graph,
)

from mcuc import ops
from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Tensor
from mcuc.verify import oracle


def ints(name: str, values: object, dtype: str = "int32") -> Tensor:
    return constant(name, np.array(values, dtype))


def values(name: str, shape: tuple[int, ...], dtype: str = "int8") -> Tensor:
    if dtype == "int8":
        return activation(name, shape)
    return Tensor(name, shape, DType(dtype))


def gathered(shape: tuple[int, ...], indices: Tensor, axis: int, batch: int = 0, dtype: str = "int8") -> Graph:
    at = axis % len(shape)
    kept = (*shape[:at], *indices.shape[batch:], *shape[at + 1 :])
    inputs = [values("x", shape, dtype), indices]
    return tflite_graph("GATHER", inputs, values("y", kept, dtype), axis=axis, batchDims=batch)


def nd(shape: tuple[int, ...], indices: Tensor, dtype: str = "int8") -> Graph:
    kept = (*indices.shape[:-1], *shape[indices.shape[-1] :])
    return tflite_graph("GATHER_ND", [values("x", shape, dtype), indices], values("y", kept, dtype))


def fed(graph: Graph, extents: tuple[int, ...], count: int = 4) -> list[list[Array]]:
    """Samples whose indices lie inside; extents: one an entry of the last axis, or one for all."""
    rng, chosen = RNG(7), []
    for _ in range(count):
        sample = []
        for name in graph.inputs:
            tensor = graph.tensors[name]
            info = np.iinfo(tensor.dtype.value)
            low, high = (0, np.array(extents)) if name == "i" else (info.min, info.max + 1)
            sample.append(rng.integers(low, high, tensor.shape).astype(tensor.dtype.value))
        chosen.append(sample)
    return chosen


CONSTANT = [
    ((1, 4, 5, 3), [2, 0], 3, 0),
    ((1, 4, 5, 3), [[3, 1], [0, 0]], 1, 0),
    ((1, 4, 5, 3), [4, 2, 2, 0], 2, 0),
    ((6, 4), 5, 0, 0),
    ((6, 4), [3, 1], -1, 0),
    ((2, 3, 4), [1, 0], 1, 0),
]


@pytest.mark.parametrize("shape, indices, axis, batch", CONSTANT)
def test_gather_by_constants(shape: tuple[int, ...], indices: object, axis: int, batch: int) -> None:
    check_tflite(gathered(shape, ints("i", indices), axis, batch), 3)


RUN_TIME = [
    ((6, 4), (3,), 0, 0),
    ((6, 4), (), 0, 0),
    ((2, 3, 4), (2, 2), 1, 0),
    ((2, 3, 4), (5,), 2, 0),
    ((2, 3, 4), (2, 2), 1, 1),
    ((2, 3, 4, 2), (2, 3), 2, 1),
]


@pytest.mark.parametrize("shape, indices, axis, batch", RUN_TIME)
def test_gather_by_run_time_indices(
    shape: tuple[int, ...], indices: tuple[int, ...], axis: int, batch: int
) -> None:
    graph = gathered(shape, values("i", indices, "int32"), axis, batch)
    check_tflite(graph, inputs=fed(graph, (shape[axis],)))


@pytest.mark.parametrize("dtype", ["int16", "int32", "bool"])
def test_gather_of_wider_types(dtype: str) -> None:
    inputs = [values("x", (3, 4), dtype), ints("i", [2, 0])]
    check_file("GATHER", inputs, values("y", (2, 4), dtype), axis=0, run=oracle.litert_reference)


def test_uint8_models_move_the_same_bytes() -> None:
    check_uint8(gathered((1, 4, 5, 3), ints("i", [2, 0]), 3), 3)
    check_uint8(nd((4, 5, 3), ints("i", [[3, 1], [0, 4]])), 3)


def test_embedding_lookup() -> None:
    table = constant("t", RNG(1).integers(-128, 128, (7, 5)).astype(np.int8), [0.05])
    ids = [[np.array(i, np.int32)] for i in ([0, 6, 3], [2, 2, 1])]
    inputs = [values("i", (3,), "int32"), table]
    graph = check_file("EMBEDDING_LOOKUP", inputs, activation("y", (3, 5)), fed=ids)
    assert graph.nodes[0].op == "gather"


@pytest.mark.parametrize(
    "shape, indices", [((4, 5, 3), [[3, 1], [0, 4]]), ((4, 5), [[[3, 1]], [[0, 4]]]), ((6, 2), [[5], [0], [5]])]
)
def test_gather_nd_by_constants(shape: tuple[int, ...], indices: object) -> None:
    check_tflite(nd(shape, ints("i", indices)), 3)


@pytest.mark.parametrize("shape, indices", [((4, 5, 3), (2, 2)), ((4, 5), (3, 2)), ((6, 2), (4, 1))])
def test_gather_nd_by_run_time_indices(shape: tuple[int, ...], indices: tuple[int, ...]) -> None:
    graph = nd(shape, values("i", indices, "int32"))
    check_tflite(graph, inputs=fed(graph, shape[: indices[-1]]))


def test_run_time_indices_outside_the_axis_take_the_nearest_element() -> None:
    graph = gathered((6, 4), values("i", (4,), "int32"), 0)
    x = RNG(0).integers(-128, 128, (6, 4)).astype(np.int8)
    ((found,),) = run_reference(graph, [[x, np.array([-(2**31), -1, 6, 2**31 - 1], np.int32)]])
    assert np.array_equal(found, x[[0, 0, 5, 5]])  # TFLite does not count from the end


@pytest.mark.parametrize("shape, indices, axis", [((6, 4), [6], 0), ((6, 4), [-7], 0)])
def test_constant_indices_outside_the_axis_are_refused(shape: tuple[int, ...], indices: list[int], axis: int) -> None:
    with pytest.raises(McucError, match="outside"):
        gathered(shape, ints("i", indices), axis)
    with pytest.raises(McucError, match="outside"):
        nd(shape, ints("i", [indices]))


@pytest.mark.parametrize("axis, batch", [(2, 0), (0, 1), (1, 2)])
def test_axes_that_do_not_exist_are_refused(axis: int, batch: int) -> None:
    inputs = [values("x", (6, 4)), ints("i", [1])]
    with pytest.raises(McucError, match="GATHER"):
        tflite_graph("GATHER", inputs, values("y", (1, 4)), axis=axis, batchDims=batch)


def test_limits_name_what_the_kernels_cannot_read() -> None:
    def found(graph: Graph) -> list[str]:
        node = graph.nodes[0]
        return [text for limit in ops.get(node.op).limits if (text := limit(node, graph))]

    assert "int64" in found(gathered((6, 4), values("i", (2,), "int64"), 0))[0]
    assert "int64" in found(nd((6, 4), values("i", (2, 1), "int64")))[0]
    assert "40000 rows" in found(gathered((1, 40000, 2, 2), ints("i", [7]), 1))[0]
    assert not found(gathered((40000, 2), ints("i", [39999]), 0))


def test_c_equals_the_reference_with_indices_inside_and_outside(tmp_path: Path) -> None:
    cases = [gathered(shape, ints("i", indices), axis, batch) for shape, indices, axis, batch in CONSTANT]
    cases += [
        gathered(shape, values("i", indices, dtype), axis, batch)
        for (shape, indices, axis, batch), dtype in zip(RUN_TIME, ["int32", "int16", "int8"] * 2, strict=True)
    ]
    table = constant("t", RNG(1).integers(-128, 128, (7, 5)).astype(np.int8), [0.05])
    cases += [
        gathered((3, 4), values("i", (2,), "int32"), 0, dtype="int16"),
        gathered((3, 4), ints("i", [2, 0, 1]), 1, dtype="int32"),
        tflite_graph("EMBEDDING_LOOKUP", [values("i", (3,), "int32"), table], activation("y", (3, 5))),
        tflite_graph("GATHER_ND", [table, values("i", (3, 2), "int8")], activation("y", (3,))),
        nd((4, 5, 3), ints("i", [[3, 1], [0, 4]])),
        nd((4, 5), values("i", (3, 2), "int32")),
        nd((4, 5, 2), values("i", (2, 1), "int16"), "int32"),
    ]
    check_c(cases, tmp_path, 5)
