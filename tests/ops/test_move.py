"""Data movement: the reference equals TFLite Micro byte for byte, and limits refuse what the kernels cannot do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import (
    activation,
    assert_equal,
    check_c,
    check_file,
    check_tflite,
    check_uint8,
    constant,
    options,
    run_reference,
    samples,
    tflite_graph,
)

from mcuc import ops
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.ir import DType, Graph, Tensor, check
from mcuc.ops._base import Imported
from mcuc.ops.resize_nearest import nearest
from mcuc.verify import oracle


def ints(name: str, values: object) -> Tensor:
    return constant(name, np.array(values, np.int32))


def limits(graph: Graph) -> list[str]:
    node = graph.nodes[0]
    return [found for limit in ops.get(node.op).limits if (found := limit(node, graph))]


@pytest.mark.parametrize(
    "perm, shape",
    [
        ((0, 3, 1, 2), (1, 4, 5, 3)),
        ((0, 2, 3, 1), (1, 4, 5, 3)),
        ((0, 2, 1, 3), (1, 4, 5, 3)),
        ((0, 1, 2, 3), (1, 4, 5, 3)),
        ((1, 0), (6, 7)),
        ((2, 1, 0), (3, 4, 5)),
        ((1, 2, 0), (3, 4, 5)),
        ((0, 3, 2, 1), (1, 4, 5, 3)),
        ((3, 1, 2, 0), (2, 1, 3, 5)),
        ((2, 3, 0, 1), (2, 3, 4, 5)),
        ((1, 0, 2, 3), (2, 3, 4, 5)),
        ((3, 2, 1, 0), (2, 3, 4, 5)),
        ((4, 2, 0, 3, 1), (2, 3, 4, 2, 3)),
    ],
)
def test_transpose(perm: tuple[int, ...], shape: tuple[int, ...]) -> None:
    out = activation("y", [shape[p] for p in perm])
    graph = tflite_graph("TRANSPOSE", [activation("x", shape), ints("perm", list(perm))], out)
    assert not limits(graph)
    check_tflite(graph, 4)


@pytest.mark.parametrize(
    "begin, size, shape",
    [
        ([0, 1, 2, 0], [1, 2, 3, 4], (1, 4, 5, 4)),
        ([0, 0, 0, 1], [1, -1, -1, 2], (1, 4, 5, 4)),
        ([0, 3], [1, 4], (1, 9)),
        ([1, 0, 2], [2, 3, 2], (4, 3, 5)),
        ([0, 1, 0, 0], [2, 1, 2, 3], (2, 2, 2, 3)),
    ],
)
def test_slice(begin: list[int], size: list[int], shape: tuple[int, ...]) -> None:
    kept = [n - b if s == -1 else s for n, b, s in zip(shape, begin, size, strict=True)]
    graph = tflite_graph("SLICE", [activation("x", shape), ints("b", begin), ints("s", size)], activation("y", kept))
    assert not limits(graph)
    check_tflite(graph, 4)


@pytest.mark.parametrize(
    "begin, end, step, fields, shape, kept",
    [
        ([0, 1, 1, 0], [1, 4, 5, 3], [1, 2, 3, 1], {}, (1, 5, 6, 3), (1, 2, 2, 3)),
        ([0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], {"beginMask": 15, "endMask": 15}, (1, 5, 6, 3), (1, 5, 6, 3)),
        ([0, -1, -1, 0], [1, -6, -7, 3], [1, -1, -2, 1], {}, (1, 5, 6, 3), (1, 5, 3, 3)),
        ([0, 9, 0, 2], [1, -9, 6, 0], [1, -2, 1, -1], {"endMask": 8}, (1, 5, 6, 3), (1, 3, 6, 3)),
        ([0, 2, 0, 0], [1, 3, 6, 3], [1, 1, 1, 1], {"shrinkAxisMask": 2}, (1, 5, 6, 3), (1, 6, 3)),
        ([0, -1, 0, 0], [1, 0, 6, 3], [1, 1, 1, 1], {"shrinkAxisMask": 2}, (1, 5, 6, 3), (1, 6, 3)),
        ([-3], [100], [2], {}, (8,), (2,)),
        ([1, 1], [4, 6], [2, 2], {"beginMask": 1}, (4, 6), (2, 3)),
    ],
)
def test_strided_slice(
    begin: list[int],
    end: list[int],
    step: list[int],
    fields: dict[str, int],
    shape: tuple[int, ...],
    kept: tuple[int, ...],
) -> None:
    inputs = [activation("x", shape), ints("b", begin), ints("e", end), ints("s", step)]
    graph = tflite_graph("STRIDED_SLICE", inputs, activation("y", kept), **fields)
    assert not limits(graph)
    check_tflite(graph, 4)


@pytest.mark.parametrize(
    "begin, end, step, fields, kept",
    [
        ([0, 1], [0, 3], [1, 1], {"ellipsisMask": 1}, (2, 3, 2)),
        ([0, 0, 0, 0], [0, 2, 3, 4], [1, 1, 1, 1], {"newAxisMask": 1}, (1, 2, 3, 4)),
        ([0, 0, 1], [0, 0, 3], [1, 1, 1], {"ellipsisMask": 1, "newAxisMask": 2}, (2, 3, 1, 2)),
        ([1, 0, 2], [2, 0, 3], [1, 1, 1], {"ellipsisMask": 2, "shrinkAxisMask": 5}, (3,)),
        ([1], [2], [1], {}, (1, 3, 4)),
        ([1, 0, 0, 1], [2, 0, 3, 3], [1, 1, 1, 1], {"newAxisMask": 2, "shrinkAxisMask": 1}, (1, 3, 2)),
        ([0, 3, 0], [0, 0, 0], [1, -2, 1], {"ellipsisMask": 1, "newAxisMask": 4}, (2, 3, 2, 1)),
    ],
)
def test_strided_slice_with_masks_that_litert_alone_has(
    begin: list[int], end: list[int], step: list[int], fields: dict[str, int], kept: tuple[int, ...]
) -> None:
    x, y = activation("x", (2, 3, 4)), activation("y", kept)
    vectors = [ints("b", begin), ints("e", end), ints("s", step)]
    graph = check_file("STRIDED_SLICE", [x, *vectors], y, run=oracle.litert_reference, **fields)
    assert "beyond TFLite Micro" in graph.notes[0]
    check_tflite(graph, 3, run=oracle.litert_reference)


@pytest.mark.parametrize("fields, step", [({"ellipsisMask": 3}, 1), ({"offset": True}, 1), ({}, 0)])
def test_strided_slice_that_means_nothing_is_refused(fields: dict[str, int], step: int) -> None:
    inputs = (activation("x", (8,)), *(ints(n, [v, v]) for n, v in (("b", 0), ("e", 4), ("s", step))))
    with pytest.raises(McucError, match="STRIDED_SLICE"):
        ops.get("slice").from_tflite(  # type: ignore[misc]
            Imported("STRIDED_SLICE", options("STRIDED_SLICE", **fields), inputs, (activation("y", (4,)),), "case")
        )


@pytest.mark.parametrize(
    "pads, shape",
    [
        ([[0, 0], [1, 2], [3, 0], [0, 0]], (1, 4, 5, 3)),
        ([[0, 0], [0, 0], [0, 0], [1, 2]], (1, 4, 5, 3)),
        ([[0, 0], [1, 1], [1, 1], [1, 1]], (1, 2, 2, 2)),
        ([[0, 0], [2, 3]], (1, 9)),
        ([[1, 0], [0, 0], [0, 0], [0, 2]], (2, 3, 4, 5)),
        ([[3, 4]], (5,)),
    ],
)
def test_pad(pads: list[list[int]], shape: tuple[int, ...]) -> None:
    kept = [n + a + b for n, (a, b) in zip(shape, pads, strict=True)]
    graph = tflite_graph("PAD", [activation("x", shape, 0.1, -7), ints("p", pads)], activation("y", kept, 0.1, -7))
    assert not limits(graph) and graph.nodes[0].attrs.value == -7
    check_tflite(graph, 4)
    check_uint8(graph, 4)


def test_padv2_fills_with_any_value() -> None:
    fill = constant("f", np.array([93], np.int8), [0.1], [-7])
    graph = tflite_graph(
        "PADV2",
        [activation("x", (1, 3, 3, 2), 0.1, -7), ints("p", [[0, 0], [1, 2], [0, 1], [0, 0]]), fill],
        activation("y", (1, 6, 4, 2), 0.1, -7),
    )
    assert graph.nodes[0].attrs.value == 93
    check_tflite(graph, 4)


@pytest.mark.parametrize("dtype", ["int16", "int32", "bool"])
def test_wider_types_move_as_well(dtype: str) -> None:
    """Against LiteRT; TFLite Micro knows some of these types for some of the operators."""

    def plain(name: str, *shape: int) -> Tensor:
        return Tensor(name, shape, DType(dtype))

    run = oracle.litert_reference
    six = (1, 2, 1, 3, 1, 4)
    check_file("RESHAPE", [plain("x", 2, 3, 4), ints("s", six)], plain("y", *six), newShape=list(six), run=run)
    check_file("SQUEEZE", [plain("x", *six)], plain("y", 2, 3, 4), squeezeDims=[0, 2, 4], run=run)
    check_file("EXPAND_DIMS", [plain("x", 2, 3), ints("a", [1])], plain("y", 2, 1, 3), run=run)
    if dtype != "bool":
        check_file("PAD", [plain("x", 2, 3), ints("p", [[1, 0], [2, 1]])], plain("y", 3, 6), run=run)
        parts = [plain("a", 2, 3), plain("b", 2, 2)]
        check_file("CONCATENATION", parts, plain("y", 2, 5), axis=1, run=run)


def test_a_fill_of_several_bytes(tmp_path: Path) -> None:
    """Against LiteRT, then in C: bytes that differ are written in their order, within a pixel and around it."""
    graphs = []
    for dtype, value in [("int32", 258), ("int32", -70000), ("int16", 300)]:
        x, fill = Tensor("x", (2, 3), DType(dtype)), constant("f", np.array([value], dtype))
        for pads in ([[1, 0], [0, 0]], [[0, 1], [2, 1]]):
            y = Tensor("y", (3, 3 + sum(pads[1])), DType(dtype))
            fed = [[np.array([[1, -2, 300], [-40, 5, 6]], dtype)]]
            graphs.append(check_file("PADV2", [x, ints("p", pads), fill], y, fed=fed, run=oracle.litert_reference))
    check_c(graphs, tmp_path)


def test_pad_of_four_axes_is_refused() -> None:
    graph = tflite_graph("PAD", [activation("x", (2, 2, 2, 2)), ints("p", [[1, 1]] * 4)], activation("y", (4, 4, 4, 4)))
    assert "four or more" in limits(graph)[0]


@pytest.mark.parametrize(
    "axis, shapes, kept",
    [
        (3, [(1, 4, 5, 3), (1, 4, 5, 2)], (1, 4, 5, 5)),
        (-1, [(1, 4, 5, 3)] * 3, (1, 4, 5, 9)),
        (2, [(1, 4, 1, 3), (1, 4, 5, 3)], (1, 4, 6, 3)),
        (1, [(1, 4, 5, 3), (1, 1, 5, 3)], (1, 5, 5, 3)),
        (0, [(2, 3), (1, 3)], (3, 3)),
        (1, [(1, 3), (1, 4), (1, 2)], (1, 9)),
        (1, [(2, 3, 4), (2, 1, 4)], (2, 4, 4)),
    ],
)
def test_concat(axis: int, shapes: list[tuple[int, ...]], kept: tuple[int, ...]) -> None:
    parts = [activation(f"x{i}", s, 0.1, 3) for i, s in enumerate(shapes)]
    graph = tflite_graph("CONCATENATION", parts, activation("y", kept, 0.1, 3), axis=axis)
    assert not limits(graph)
    check_tflite(graph, 4)


def test_concat_of_differing_scales_equals_quantize_before_it_and_rescales_uint8() -> None:
    parts = [
        activation("x0", (1, 2, 2, 3), 0.1, 3),
        activation("x1", (1, 2, 2, 2), 0.27, -20),
        activation("x2", (1, 2, 2, 1), 0.3, 4),
    ]
    out = activation("y", (1, 2, 2, 6), 0.3, 4)
    graph = tflite_graph("CONCATENATION", parts, out, axis=3)
    assert [len(t) for t in graph.nodes[0].attrs.tables] == [256, 256, 0]
    middle = [activation(f"q{i}", p.shape, 0.3, 4) for i, p in enumerate(parts)]
    steps = [tflite_graph("QUANTIZE", [p], q).nodes[0] for p, q in zip(parts, middle, strict=True)]
    steps = [replace(node, name=f"{i}:QUANTIZE") for i, node in enumerate(steps)]
    joined = tflite_graph("CONCATENATION", middle, out, axis=3)
    tensors = {t.name: t for t in (*parts, *middle, out)}
    explicit = check(Graph("case", "tflite", tensors, (*steps, *joined.nodes), graph.inputs, graph.outputs))
    inputs = samples(graph)
    assert_equal(oracle.tflite_micro(exporter.export(explicit), inputs), run_reference(graph, inputs), "concat")
    with pytest.raises(McucError, match="QUANTIZE before"):
        exporter.export(graph)


def test_concat_of_differing_scales_in_a_uint8_model_is_what_tflite_computes() -> None:
    parts = [
        activation("x0", (1, 2, 2, 3), 0.1, 3),
        activation("x1", (1, 2, 2, 2), 0.27, -20),
        activation("x2", (1, 2, 2, 1), 0.3, 4),
    ]
    same = [replace(p, quant=activation("y", (1,), 0.3, 4).quant) for p in parts]
    graph = tflite_graph("CONCATENATION", same, activation("y", (1, 2, 2, 6), 0.3, 4), axis=3)
    differing = replace(graph, tensors=graph.tensors | {p.name: p for p in parts})
    again = check_uint8(differing)
    assert sum("rescaled" in note for note in again.notes) == 2


@pytest.mark.parametrize("align, half", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("size", [(8, 10), (3, 2), (7, 13), (1, 1), (4, 5)])
def test_resize_nearest(align: bool, half: bool, size: tuple[int, int]) -> None:
    graph = tflite_graph(
        "RESIZE_NEAREST_NEIGHBOR",
        [activation("x", (1, 4, 5, 3)), ints("s", list(size))],
        activation("y", (1, *size, 3)),
        alignCorners=align,
        halfPixelCenters=half,
    )
    check_tflite(graph, 3)


def test_resize_doubles_rows() -> None:
    assert nearest(3, 6, False, False) == (0, 0, 1, 1, 2, 2)
    assert nearest(3, 6, False, True) == (0, 0, 1, 1, 2, 2)
    assert nearest(3, 5, True, False) == (0, 1, 1, 2, 2)


@pytest.mark.parametrize(
    "kind, fields, constants",
    [
        ("RESHAPE", {}, [ints("s", [1, 60])]),
        ("SQUEEZE", {"squeezeDims": [0]}, []),
        ("EXPAND_DIMS", {}, [ints("a", [1])]),
    ],
)
def test_reshape_keeps_the_bytes(kind: str, fields: dict[str, object], constants: list[Tensor]) -> None:
    shapes = {"RESHAPE": (1, 60), "SQUEEZE": (4, 5, 3), "EXPAND_DIMS": (1, 1, 4, 5, 3)}
    graph = tflite_graph(kind, [activation("x", (1, 4, 5, 3)), *constants], activation("y", shapes[kind]), **fields)
    assert graph.nodes[0].op == "reshape" and ops.get("reshape").alias
    check_tflite(graph, 2)


def test_reshape_to_another_size_is_refused() -> None:
    with pytest.raises(McucError, match="turns"):
        tflite_graph("RESHAPE", [activation("x", (1, 4)), ints("s", [1, 5])], activation("y", (1, 5)))


def test_samples_cover_the_extremes() -> None:
    graph = tflite_graph("RESHAPE", [activation("x", (1, 4)), ints("s", [4])], activation("y", (4,)))
    found = samples(graph, 3)
    assert found[0][0].min() == -128 and found[1][0].max() == 127


def wide_cases() -> list[Graph]:
    """Elements of two and four bytes through the kernels that move bytes."""

    def plain(name: str, shape: tuple[int, ...], dtype: str = "int16") -> Tensor:
        return Tensor(name, shape, DType(dtype))

    x = plain("x", (1, 3, 4, 2), "int32")
    parts = [plain("a", (2, 3)), plain("b", (2, 2))]
    return [
        tflite_graph("PAD", [plain("x", (2, 3)), ints("p", [[1, 0], [2, 1]])], plain("y", (3, 6))),
        tflite_graph("PAD", [x, ints("p", [[0, 0], [1, 0], [0, 2], [0, 1]])], plain("y", (1, 4, 6, 3), "int32")),
        tflite_graph("CONCATENATION", parts, plain("y", (2, 5)), axis=1),
        tflite_graph("RESIZE_NEAREST_NEIGHBOR", [x, ints("s", [5, 2])], plain("y", (1, 5, 2, 2), "int32")),
        tflite_graph("TRANSPOSE", [x, ints("p", [0, 3, 1, 2])], plain("y", (1, 2, 3, 4), "int32")),
        tflite_graph("RESHAPE", [plain("x", (2, 3)), ints("s", [6])], plain("y", (6,))),
    ]


def c_cases() -> list[Graph]:
    """One case for each path through the move kernels."""
    x = activation("x", (1, 4, 5, 3), 0.1, -7)

    def strided(begin: list[int], end: list[int], step: list[int], kept: tuple[int, ...], **masks: int) -> Graph:
        return tflite_graph(
            "STRIDED_SLICE", [x, ints("b", begin), ints("e", end), ints("s", step)], activation("y", kept), **masks
        )

    def transposed(shape: tuple[int, ...], perm: list[int]) -> Graph:
        return tflite_graph(
            "TRANSPOSE", [activation("x", shape), ints("p", perm)], activation("y", [shape[p] for p in perm])
        )

    def padded(shape: tuple[int, ...], pads: list[list[int]]) -> Graph:
        kept = [n + a + b for n, (a, b) in zip(shape, pads, strict=True)]
        return tflite_graph("PAD", [activation("x", shape, 0.1, -7), ints("p", pads)], activation("y", kept, 0.1, -7))

    def joined(axis: int, shapes: list[tuple[int, ...]], kept: tuple[int, ...], scales: tuple[float, ...]) -> Graph:
        parts = [activation(f"x{i}", s, scale, 3) for i, (s, scale) in enumerate(zip(shapes, scales, strict=True))]
        return tflite_graph("CONCATENATION", parts, activation("y", kept, 0.1, 3), axis=axis)

    def resized(size: tuple[int, int], **modes: bool) -> Graph:
        return tflite_graph(
            "RESIZE_NEAREST_NEIGHBOR", [x, ints("s", list(size))], activation("y", (1, *size, 3)), **modes
        )

    return [
        transposed((1, 4, 5, 3), [0, 3, 1, 2]),
        transposed((1, 4, 5, 3), [0, 3, 2, 1]),
        transposed((6, 7), [1, 0]),
        transposed((3, 4, 5), [1, 0, 2]),
        transposed((2, 3, 4, 5), [3, 2, 1, 0]),
        transposed((2, 3, 2, 3, 2, 3), [0, 4, 2, 1, 3, 5]),
        strided([0, 1, 1, 0], [1, 4, 5, 3], [1, 2, 3, 1], (1, 2, 2, 3)),
        strided([0, 0, 0, 0], [1, 0, 0, 0], [1, -1, -2, -1], (1, 4, 3, 3), beginMask=14, endMask=14),
        tflite_graph(
            "SLICE",
            [activation("x", (4, 3, 5)), ints("b", [1, 0, 2]), ints("s", [2, 3, 2])],
            activation("y", (2, 3, 2)),
        ),
        tflite_graph(
            "STRIDED_SLICE",
            [activation("x", (9,)), ints("b", [8]), ints("e", [0]), ints("s", [-3])],
            activation("y", (3,)),
        ),
        padded((1, 4, 5, 3), [[0, 0], [1, 2], [3, 0], [0, 0]]),
        padded((1, 2, 3, 2), [[0, 0], [1, 1], [1, 1], [1, 2]]),
        padded((2, 3, 4, 5), [[1, 0], [0, 0], [0, 0], [0, 2]]),
        padded((1, 9), [[0, 0], [2, 3]]),
        *wide_cases(),
        joined(3, [(1, 4, 5, 3), (1, 4, 5, 6)], (1, 4, 5, 9), (0.1, 0.1)),
        joined(3, [(1, 2, 3, 3), (1, 2, 3, 2)], (1, 2, 3, 5), (0.2, 0.1)),
        joined(2, [(1, 4, 1, 3), (1, 4, 5, 3)], (1, 4, 6, 3), (0.1, 0.3)),
        joined(1, [(1, 4, 5, 3), (1, 1, 5, 3)], (1, 5, 5, 3), (0.1, 0.1)),
        joined(1, [(2, 3, 4), (2, 1, 4)], (2, 4, 4), (0.1, 0.1)),
        resized((8, 10)),
        resized((3, 2), halfPixelCenters=True),
        resized((7, 13), alignCorners=True),
        tflite_graph("RESHAPE", [activation("x", (1, 4)), ints("s", [4])], activation("y", (4,))),
    ]


def test_c_equals_the_reference_through_every_tiling(tmp_path: Path) -> None:
    check_c(c_cases(), tmp_path, 3)
