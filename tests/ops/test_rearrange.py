"""Depth to space and its like, mirrored padding, reversal, blocks of a batch: against TFLite Micro or LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import (
    RNG,
    activation,
    bias,
    check_c,
    check_file,
    check_tflite,
    check_uint8,
    constant,
    tflite_graph,
    weights,
)

from mcuc import passes
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.ir import DType, Graph, Node, Tensor, check
from mcuc.verify import oracle


def ints(name: str, values: object) -> Tensor:
    return constant(name, np.array(values, np.int32))


def typed(name: str, shape: tuple[int, ...], dtype: str = "int8") -> Tensor:
    return activation(name, shape, 0.05, -7) if dtype == "int8" else Tensor(name, shape, DType(dtype))


def depth_to_space(shape: tuple[int, ...], block: int, dtype: str = "int8") -> Graph:
    n, h, w, c = shape
    out = typed("y", (n, h * block, w * block, c // block**2), dtype)
    return tflite_graph("DEPTH_TO_SPACE", [typed("x", shape, dtype)], out, blockSize=block)


def space_to_depth(shape: tuple[int, ...], block: int, dtype: str = "int8") -> Graph:
    n, h, w, c = shape
    out = typed("y", (n, h // block, w // block, c * block**2), dtype)
    return tflite_graph("SPACE_TO_DEPTH", [typed("x", shape, dtype)], out, blockSize=block)


def tiled(shape: tuple[int, ...], times: list[int], dtype: str = "int8") -> Graph:
    out = typed("y", tuple(n * k for n, k in zip(shape, times, strict=True)), dtype)
    return tflite_graph("TILE", [typed("x", shape, dtype), ints("m", times)], out)


def broadcast(shape: tuple[int, ...], wanted: tuple[int, ...], dtype: str = "int8") -> Graph:
    return tflite_graph("BROADCAST_TO", [typed("x", shape, dtype), ints("s", wanted)], typed("y", wanted, dtype))


def mirrored(shape: tuple[int, ...], pads: list[list[int]], mode: int, dtype: str = "int8") -> Graph:
    out = typed("y", tuple(n + a + b for n, (a, b) in zip(shape, pads, strict=True)), dtype)
    return tflite_graph("MIRROR_PAD", [typed("x", shape, dtype), ints("p", pads)], out, mode=mode)


def reversed_(shape: tuple[int, ...], axes: list[int], dtype: str = "int8") -> Graph:
    return tflite_graph("REVERSE_V2", [typed("x", shape, dtype), ints("a", axes)], typed("y", shape, dtype))


def to_batch(shape: tuple[int, ...], block: list[int], pads: list[list[int]]) -> Graph:
    k = len(block)
    grown = [(n + a + b) // d for n, (a, b), d in zip(shape[1 : k + 1], pads, block, strict=True)]
    out = typed("y", (shape[0] * int(np.prod(block)), *grown, *shape[k + 1 :]))
    return tflite_graph("SPACE_TO_BATCH_ND", [typed("x", shape), ints("b", block), ints("p", pads)], out)


def to_space(shape: tuple[int, ...], block: list[int], crops: list[list[int]]) -> Graph:
    k = len(block)
    kept = [n * d - a - b for n, (a, b), d in zip(shape[1 : k + 1], crops, block, strict=True)]
    out = typed("y", (shape[0] // int(np.prod(block)), *kept, *shape[k + 1 :]))
    return tflite_graph("BATCH_TO_SPACE_ND", [typed("x", shape), ints("b", block), ints("c", crops)], out)


BLOCKS = [
    depth_to_space((1, 3, 4, 8), 2),
    depth_to_space((1, 2, 3, 18), 3),
    space_to_depth((1, 4, 6, 3), 2),
    space_to_depth((1, 3, 6, 1), 3),
    broadcast((1, 1, 5, 3), (1, 4, 5, 3)),
    broadcast((4, 1), (2, 3, 4, 5)),
    broadcast((3,), (2, 2, 3)),
    broadcast((1,), (2, 3)),
]
MIRRORS = [
    mirrored((1, 4, 5, 3), [[0, 0], [1, 2], [3, 0], [0, 0]], 0),
    mirrored((1, 4, 5, 3), [[0, 0], [4, 2], [0, 5], [0, 0]], 1),
    mirrored((1, 4, 5, 3), [[0, 0], [2, 1], [0, 0], [0, 0]], 0),
    mirrored((2, 3), [[1, 1], [2, 1]], 0),
    mirrored((1, 2, 3, 3), [[0, 0], [1, 1], [0, 0], [2, 2]], 0),
]
REVERSALS = [
    reversed_((1, 4, 5, 3), [1]),
    reversed_((1, 4, 5, 3), [2]),
    reversed_((1, 4, 5, 3), [-1]),
    reversed_((2, 3, 4), [0]),
    reversed_((7,), [0]),
]
BATCHES = [
    to_batch((1, 4, 6, 3), [2, 2], [[0, 0], [0, 0]]),
    to_batch((1, 5, 6, 3), [2, 3], [[1, 2], [2, 1]]),
    to_batch((2, 4, 3), [2], [[1, 1]]),
    to_space((4, 2, 3, 3), [2, 2], [[0, 0], [0, 0]]),
    to_space((6, 2, 3, 3), [2, 3], [[1, 0], [2, 1]]),
    to_space((4, 3, 3), [2], [[1, 2]]),
]


@pytest.mark.parametrize("graph", [*BLOCKS, *MIRRORS, BATCHES[0], *BATCHES[3:]], ids=lambda g: g.nodes[0].name)
def test_against_tflite_micro(graph: Graph) -> None:
    check_tflite(graph, 3)


@pytest.mark.parametrize("graph", BATCHES[1:3], ids=range(2))
def test_blocks_are_padded_with_the_zero_point_as_litert_does(graph: Graph) -> None:
    again = check_tflite(graph, 3, run=oracle.litert_reference)
    assert again.nodes[0].attrs.value == -7 and "beyond TFLite Micro" in again.notes[0]


@pytest.mark.parametrize("graph", [*BLOCKS[:4], *MIRRORS, *BATCHES], ids=lambda g: g.nodes[0].name)
def test_uint8_models_move_the_same_bytes(graph: Graph) -> None:
    check_uint8(graph, 3)


@pytest.mark.parametrize("shape, axes", [((1, 4, 5, 3), [1]), ((1, 4, 5, 3), [-1]), ((2, 3, 4), [0]), ((7,), [0])])
def test_reverse(shape: tuple[int, ...], axes: list[int]) -> None:
    check_file("REVERSE_V2", [typed("x", shape), ints("a", axes)], typed("y", shape))


@pytest.mark.parametrize("dtype", ["int8", "int32"])
@pytest.mark.parametrize("shape, times", [((2, 3), [2, 3]), ((1, 2, 3, 2), [1, 2, 1, 3]), ((4,), [3])])
def test_tile(shape: tuple[int, ...], times: list[int], dtype: str) -> None:
    out = typed("y", tuple(n * k for n, k in zip(shape, times, strict=True)), dtype)
    check_file("TILE", [typed("x", shape, dtype), ints("m", times)], out, run=oracle.litert_reference)


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_wider_types(dtype: str) -> None:
    check_file("TRANSPOSE", [typed("x", (2, 3, 4, 5), dtype), ints("p", [3, 1, 0, 2])], typed("y", (5, 3, 2, 4), dtype),
               run=oracle.litert_reference)
    check_file("SLICE", [typed("x", (1, 4, 5), dtype), ints("b", [0, 1, 2]), ints("s", [1, 2, 3])],
               typed("y", (1, 2, 3), dtype), run=oracle.litert_reference)
    check_file("BROADCAST_TO", [typed("x", (4, 1), dtype), ints("s", [4, 3])], typed("y", (4, 3), dtype))


def test_bool_moves() -> None:
    check_file("STRIDED_SLICE", [typed("x", (4, 6), "bool"), ints("b", [3, 1]), ints("e", [0, 6]), ints("s", [-1, 2])],
               typed("y", (3, 3), "bool"), run=oracle.litert_reference)


@pytest.mark.parametrize(
    "kind, extra, fields",
    [
        ("DEPTH_TO_SPACE", [], {"blockSize": 2}),
        ("SPACE_TO_DEPTH", [], {"blockSize": 3}),
        ("DEPTH_TO_SPACE", [], {"blockSize": 0}),
        ("TILE", [ints("m", [1, 1])], {}),
        ("TILE", [ints("m", [1, 1, 1, 1 << 30])], {}),
        ("BROADCAST_TO", [ints("s", [1, 4, 5, 4])], {}),
        ("BROADCAST_TO", [ints("s", [1 << 20, 1 << 20])], {}),
        ("MIRROR_PAD", [ints("p", [[0, 0], [4, 0], [0, 0], [0, 0]])], {"mode": 0}),
        ("MIRROR_PAD", [ints("p", [[0, 0], [5, 0], [0, 0], [0, 0]])], {"mode": 1}),
        ("REVERSE_V2", [ints("a", [4])], {}),
        ("SPACE_TO_BATCH_ND", [ints("b", [2, 0]), ints("p", [[0, 0], [0, 0]])], {}),
        ("BATCH_TO_SPACE_ND", [ints("b", [2, 2]), ints("p", [[0, -1], [0, 0]])], {}),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, extra: list[Tensor], fields: dict[str, int]) -> None:
    with pytest.raises(McucError, match=kind):
        tflite_graph(kind, [typed("x", (1, 4, 5, 3)), *extra], typed("y", (1, 4, 5, 3)), **fields)


def dilated(kind: str, size: int, block: int, pads: list[list[int]], crops: list[list[int]]) -> Graph:
    """Blocks to a batch, a convolution without padding, and back, as Keras writes a dilated convolution."""
    rng, channels = RNG(4), 4
    x = activation("x", (1, size, size, channels), 0.05, -7)
    grown = [(size + sum(p)) // block for p in pads]
    blocks = activation("blocks", (block * block, *grown, channels), 0.05, -7)
    inner = activation("conv", (block * block, *(n - 2 for n in grown), channels), 0.2, 3)
    kept = [(n - 2) * block - sum(c) for n, c in zip(grown, crops, strict=True)]
    out = activation("y", (1, *kept, channels), 0.2, 3)
    shape = (1, 3, 3, channels) if kind == "DEPTHWISE_CONV_2D" else (channels, 3, 3, channels)
    w = weights(rng, shape, axis=3 if kind == "DEPTHWISE_CONV_2D" else 0)
    fields = {"depthMultiplier": 1} if kind == "DEPTHWISE_CONV_2D" else {}
    first = tflite_graph("SPACE_TO_BATCH_ND", [x, ints("k", [block] * 2), ints("p", pads)], blocks)
    conv = tflite_graph(kind, [blocks, w, bias(rng, x, w, channels)], inner, padding=1, strideH=1, strideW=1, **fields)
    last = tflite_graph("BATCH_TO_SPACE_ND", [inner, ints("k", [block] * 2), ints("r", crops)], out)
    parts = (first, conv, last)
    tensors = {k: t for g in parts for k, t in g.tensors.items()}
    nodes = tuple(Node(f"{i}:{g.nodes[0].name}", g.nodes[0].op, g.nodes[0].inputs, g.nodes[0].outputs, g.nodes[0].attrs)
                  for i, g in enumerate(parts))
    return check(Graph("case", "tflite", tensors, nodes, ("x",), ("y",)))


DILATED = [
    dilated("CONV_2D", 8, 2, [[2, 2], [2, 2]], [[0, 0], [0, 0]]),
    dilated("CONV_2D", 7, 2, [[2, 3], [2, 3]], [[0, 1], [0, 1]]),
    dilated("DEPTHWISE_CONV_2D", 9, 3, [[3, 3], [3, 3]], [[0, 0], [0, 0]]),
    dilated("DEPTHWISE_CONV_2D", 8, 2, [[0, 0], [0, 0]], [[0, 0], [0, 0]]),
]


@pytest.mark.parametrize("graph", DILATED, ids=range(len(DILATED)))
def test_convolution_over_blocks_is_a_dilated_convolution(graph: Graph) -> None:
    again = check_tflite(graph, 3, run=oracle.litert_reference)
    joined = passes.optimize(again)
    assert [n.op for n in joined.nodes] == [graph.nodes[1].op]
    assert joined.nodes[0].attrs.window.dilation in ((2, 2), (3, 3))


def test_what_the_batch_between_is_read_by_as_well_stays_apart() -> None:
    graph = DILATED[0]
    both = Graph(graph.name, graph.profile, graph.tensors, graph.nodes, graph.inputs, ("y", "conv"))
    assert "conv_2d" in [n.op for n in passes.optimize(both).nodes][1:]
    with pytest.raises(McucError, match="batch is 4"):
        passes.check_supported(passes.optimize(both))


def test_files_read_back_are_the_same(tmp_path: Path) -> None:
    for graph in (*BLOCKS, *MIRRORS):
        assert exporter.export(graph)


def test_c_equals_the_reference_through_every_tiling(tmp_path: Path) -> None:
    wide = [
        depth_to_space((1, 2, 3, 8), 2, "int16"),
        space_to_depth((1, 4, 4, 2), 2, "int32"),
        tiled((2, 3), [2, 3]),
        tiled((1, 2, 3, 2), [1, 2, 1, 3], "int16"),
        broadcast((4, 1), (2, 4, 3), "bool"),
        mirrored((1, 4, 5, 3), [[0, 0], [1, 2], [3, 0], [0, 0]], 0, "int16"),
        reversed_((2, 3, 4), [2], "int32"),
    ]
    check_c([*BLOCKS, *MIRRORS, *REVERSALS, *BATCHES, *wide], tmp_path, 3, optimize=True)


def test_c_of_dilated_convolutions(tmp_path: Path) -> None:
    check_c(DILATED, tmp_path, 3, optimize=True)
