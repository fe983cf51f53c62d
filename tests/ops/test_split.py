"""Split, unpack, pack and concatenations with constants: reference and C against TFLite Micro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import activation, check_c, check_file, check_tflite, check_uint8, constant, tflite_graph

from mcuc import passes
from mcuc.errors import McucError
from mcuc.ir import DType, Graph, Tensor
from mcuc.verify import oracle


def ints(name: str, values: object) -> Tensor:
    return constant(name, np.array(values, np.int32))


def typed(name: str, shape: tuple[int, ...], dtype: DType) -> Tensor:
    return Tensor(name, shape, dtype) if dtype is not DType.INT8 else activation(name, shape)


def split(axis: int, count: int, shape: tuple[int, ...], dtype: DType = DType.INT8) -> Graph:
    part = tuple(n // count if i == axis % len(shape) else n for i, n in enumerate(shape))
    outs = [typed(f"y{i}", part, dtype) for i in range(count)]
    return tflite_graph("SPLIT", [ints("axis", axis), typed("x", shape, dtype)], outs, numSplits=count)


def split_v(axis: int, sizes: list[int], shape: tuple[int, ...], kept: list[int]) -> Graph:
    outs = [
        activation(f"y{i}", tuple(k if j == axis else n for j, n in enumerate(shape))) for i, k in enumerate(kept)
    ]
    inputs = [activation("x", shape), ints("sizes", sizes), ints("axis", axis)]
    return tflite_graph("SPLIT_V", inputs, outs, numSplits=len(sizes))


def unpack(axis: int, shape: tuple[int, ...], dtype: DType = DType.INT8) -> Graph:
    at = axis % len(shape)
    outs = [typed(f"y{i}", shape[:at] + shape[at + 1 :], dtype) for i in range(shape[at])]
    return tflite_graph("UNPACK", [typed("x", shape, dtype)], outs, axis=axis, num=shape[at])


def pack(axis: int, count: int, shape: tuple[int, ...], dtype: DType = DType.INT8, fixed: int = -1) -> Graph:
    at = axis % (len(shape) + 1)
    parts = [typed(f"x{i}", shape, dtype) for i in range(count)]
    if fixed >= 0:
        data = np.arange(np.prod(shape)).reshape(shape).astype(dtype.value)
        parts[fixed] = Tensor("c", shape, dtype, parts[fixed].quant, data)
    out = typed("y", (*shape[:at], count, *shape[at:]), dtype)
    return tflite_graph("PACK", parts, out, axis=axis, valuesCount=count)


def joined(axis: int, parts: list[tuple[int, ...]], fixed: int, dtype: DType = DType.INT8) -> Graph:
    tensors = [typed(f"x{i}", s, dtype) for i, s in enumerate(parts)]
    data = np.random.default_rng(3).integers(-100, 100, parts[fixed]).astype(dtype.value)
    tensors[fixed] = Tensor("c", parts[fixed], dtype, tensors[fixed].quant, data)
    whole = tuple(sum(p[i] for p in parts) if i == axis else n for i, n in enumerate(parts[0]))
    return tflite_graph("CONCATENATION", tensors, typed("y", whole, dtype), axis=axis)


@pytest.mark.parametrize(
    "axis, count, shape", [(3, 3, (1, 4, 5, 6)), (1, 2, (1, 4, 5, 3)), (0, 2, (4, 3)), (-1, 2, (2, 3, 4))]
)
def test_split(axis: int, count: int, shape: tuple[int, ...]) -> None:
    check_tflite(split(axis, count, shape), 3)


@pytest.mark.parametrize("sizes, kept", [([2, 3, 1], [2, 3, 1]), ([1, -1, 2], [1, 3, 2])])
def test_split_v(sizes: list[int], kept: list[int]) -> None:
    shape = (1, 4, 5, 6)
    outs = [activation(f"y{i}", (*shape[:3], k)) for i, k in enumerate(kept)]
    check_file("SPLIT_V", [activation("x", shape), ints("s", sizes), ints("a", 3)], outs, numSplits=len(sizes))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_unpack(axis: int) -> None:
    check_tflite(unpack(axis, (2, 3, 4)), 3)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_pack(axis: int) -> None:
    check_tflite(pack(axis, 3, (2, 5)), 3)


def test_pack_of_a_constant_and_a_value() -> None:
    check_tflite(pack(1, 2, (3, 4), fixed=0), 3)


@pytest.mark.parametrize("axis, fixed", [(3, 0), (3, 1), (1, 0)])
def test_concatenation_with_a_constant_part(axis: int, fixed: int) -> None:
    parts = [(1, 4, 5, 3), (1, 4, 5, 2)] if axis == 3 else [(1, 2, 5, 3), (1, 4, 5, 3)]
    check_tflite(joined(axis, parts, fixed), 3)


@pytest.mark.parametrize("dtype", [DType.INT16, DType.INT32])
def test_parts_of_wider_types(dtype: DType) -> None:
    check_file("UNPACK", [typed("x", (3, 4), dtype)], [typed(f"y{i}", (4,), dtype) for i in range(3)], axis=0, num=3,
               run=oracle.litert_reference)
    check_file("PACK", [typed("a", (3,), dtype), typed("b", (3,), dtype)], typed("y", (3, 2), dtype), axis=1,
               valuesCount=2, run=oracle.litert_reference)
    check_file("SPLIT", [ints("axis", 1), typed("x", (2, 4), dtype)],
               [typed(f"y{i}", (2, 2), dtype) for i in range(2)], numSplits=2, run=oracle.litert_reference)


@pytest.mark.parametrize(
    "kind, inputs, count, fields",
    [
        ("SPLIT", [ints("a", 1), activation("x", (2, 5))], 2, {"numSplits": 2}),
        ("SPLIT", [ints("a", 2), activation("x", (2, 4))], 2, {"numSplits": 2}),
        ("SPLIT_V", [activation("x", (2, 5)), ints("s", [2, 2]), ints("a", 1)], 2, {"numSplits": 2}),
        ("UNPACK", [activation("x", (2, 5))], 3, {"num": 3, "axis": 0}),
    ],
)
def test_parts_that_do_not_fit_are_refused(kind: str, inputs: list[Tensor], count: int, fields: dict[str, int]) -> None:
    outs = [activation(f"y{i}", (2, 2)) for i in range(count)]
    with pytest.raises(McucError, match=kind):
        tflite_graph(kind, inputs, outs, **fields)


def test_uint8_models_move_the_same_bytes() -> None:
    for graph in (split(3, 3, (1, 4, 5, 6)), unpack(1, (2, 3, 4)), pack(0, 2, (3, 4)), pack(1, 2, (3, 4), fixed=0)):
        check_uint8(graph, 3)


def test_split_of_the_outermost_axis_moves_nothing() -> None:
    graph = passes.optimize(split(1, 2, (1, 4, 5, 3)))
    assert [n.op for n in graph.nodes] == ["slice", "slice"]


def test_c_equals_the_reference_through_every_tiling(tmp_path: Path) -> None:
    cases = [
        split(3, 3, (1, 4, 5, 6)),
        split(1, 2, (2, 4, 5), DType.INT16),
        split_v(2, [2, 3, 1], (1, 3, 6, 4), [2, 3, 1]),
        unpack(1, (2, 3, 4)),
        unpack(-1, (2, 3), DType.INT32),
        pack(0, 2, (3, 4)),
        pack(-1, 3, (2, 5), DType.INT16),
        pack(1, 3, (2, 5), DType.INT32, fixed=1),
        pack(1, 2, (3, 4), fixed=0),
        joined(3, [(1, 4, 5, 3), (1, 4, 5, 2)], 0),
        joined(1, [(1, 2, 5, 3), (1, 4, 5, 3)], 1, DType.INT16),
    ]
    check_c(cases, tmp_path, 3, optimize=True)
