"""ONNX operators that pick, repeat, pad and scatter: the reference equals ONNX Runtime on every element."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_models import Model, check_onnx, importer, load, onnx, oracle, reference

from mcuc.errors import McucError
from mcuc.ir import Graph

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
from harness import check_c

Tail = Callable[[Model, str], str]
SHAPE = (1, 8, 4, 6)  # NCHW


def i64(m: Model, values: object) -> str:
    return m.const(values, np.int64)


def behind(tail: Tail, shape: tuple[int, ...] = SHAPE, dtype: str = "int8", other: bool = False) -> bytes:
    """QDQ, the operator, QDQ with the same parameters, or with others."""
    m = Model(31, opset=18)
    zero = 5 if dtype == "int8" else 133
    x = m.qdq(m.input(list(shape)), dtype, 0.1, zero)
    m.scales[x] = np.float32(0.1)
    return m.build(m.qdq(tail(m, x), dtype, 0.17 if other else 0.1, zero + 9 if other else zero))


def behind_conv(tail: Tail) -> bytes:
    """A convolution whose result goes into the operator before it is quantized."""
    m = Model(33, opset=18)
    v = m.layer("Conv", m.qdq(m.input([1, 3, 4, 6])), m.weights((8, 3, 3, 3)), 8, pads=[1, 1, 1, 1])
    return m.build(m.qdq(tail(m, v), "int8", 0.3, 5))


def padded(pads: list[int], mode: str, *more: object) -> Tail:
    return lambda m, v: m.node("Pad", [v, i64(m, pads), *(("", i64(m, more[0])) if more else ())], mode=mode)


def scatter(kind: str, indices: object, shape: tuple[int, ...], **attrs: int) -> Tail:
    def tail(m: Model, v: str) -> str:
        updates = m.qdq(m.input(list(shape)), "int8", 0.07, -3)
        return m.node(kind, [v, i64(m, indices), updates], **attrs)

    return tail


ROWS = np.random.default_rng(1).integers(-4, 4, (1, 8, 3, 6))
EVERYWHERE = {
    "gather any": lambda m, v: m.node("Gather", [v, i64(m, [3, 0, 0, -1, 5])], axis=1),
    "gather rows": lambda m, v: m.node("Gather", [v, i64(m, [3, 0, 2])], axis=2),
    "depth to space": lambda m, v: m.node("DepthToSpace", [v], blocksize=2),
    "depth to space, columns first": lambda m, v: m.node("DepthToSpace", [v], blocksize=2, mode="CRD"),
    "space to depth": lambda m, v: m.node("SpaceToDepth", [v], blocksize=2),
    "tile": lambda m, v: m.node("Tile", [v, i64(m, [1, 2, 3, 1])]),
    "expand": lambda m, v: m.node("Expand", [v, i64(m, [2, 1, 8, 4, 6])]),
    "expand channels": lambda m, v: m.node(
        "Expand", [m.node("Slice", [v, i64(m, [1]), i64(m, [2]), i64(m, [1])]), i64(m, [1, 5, 1, 1])]
    ),
}
TAILS: dict[str, Tail] = {
    **EVERYWHERE,
    "gather columns, of rank 2": lambda m, v: m.node("Gather", [v, i64(m, [[5, 0], [2, 2]])], axis=3),
    "gather elements": lambda m, v: m.node("GatherElements", [v, i64(m, ROWS)], axis=2),
    "gather elements along channels": lambda m, v: m.node("GatherElements", [v, i64(m, ROWS[:, :2])], axis=1),
    "gather nd": lambda m, v: m.node("GatherND", [v, i64(m, [[[0, 3], [0, -1]]])]),
    "gather nd to the end": lambda m, v: m.node("GatherND", [v, i64(m, [[0, 3, 1, 2], [0, 7, 3, 5]])]),
    "gather nd by batch": lambda m, v: m.node("GatherND", [v, i64(m, [[[3, 1], [7, 0]]])], batch_dims=1),
    "triangle": lambda m, v: m.node("Trilu", [v, m.const(1, np.int64)]),
    "lower triangle": lambda m, v: m.node("Trilu", [v], upper=0),
    "crop and pad": lambda m, v: m.node("CenterCropPad", [v, i64(m, [3, 9])], axes=[2, 3]),
    "crop": lambda m, v: m.node("CenterCropPad", [v, i64(m, [1, 8, 3, 3])]),
    "reflect": padded([0, 0, 2, 3, 0, 0, 1, 5], "reflect"),
    "edge": padded([0, 0, 2, 9, 0, 0, 1, 0], "edge"),
    "edge of channels": padded([0, 1, 0, 0, 0, 2, 0, 0], "edge"),
    "pad axes": padded([1, 2, 0, 3], "reflect", [2, 3]),
    "cut by negative pads": padded([0, -1, 0, -2, 0, 0, -1, 1], "constant"),
    "cut and reflect": padded([0, 0, -1, 2, 0, 0, 0, -1], "reflect"),
    "scatter nd": scatter("ScatterND", [[0, 3], [0, 1]], (2, 4, 6)),
    "scatter nd elements": scatter("ScatterND", [[0, 3, 1, 2], [0, -1, 0, 0]], (2,)),
    "scatter one element": scatter("ScatterND", [0, 3, 1, 2], ()),
    "scatter elements": scatter("ScatterElements", ROWS[:, :, :1], (1, 8, 1, 6), axis=2),
    "slice steps": lambda m, v: m.node(
        "Slice", [v, i64(m, [-1, 0]), i64(m, [-(2**31), 2**31 - 1]), i64(m, [3, 1]), i64(m, [-2, 3])]
    ),
    "concat of a constant": lambda m, v: m.node(
        "Concat", [v, m.weights((1, 3, 4, 6), axis=None, zero=4), v], axis=1
    ),
    "transpose of five axes": lambda m, v: m.node(
        "Transpose", [m.node("Reshape", [v, i64(m, [1, 2, 4, 4, 6])])], perm=[0, 4, 2, 1, 3]
    ),
}
RANKS: dict[str, tuple[tuple[int, ...], Tail]] = {
    "tile a vector": ((5,), lambda m, v: m.node("Tile", [v, i64(m, [3])])),
    "expand a matrix": ((3, 1), lambda m, v: m.node("Expand", [v, i64(m, [2, 1, 4])])),
    "triangle of a matrix": ((5, 4), lambda m, v: m.node("Trilu", [v])),
    "gather of a matrix": ((6, 5), lambda m, v: m.node("Gather", [v, i64(m, [5, 0, 3])], axis=0)),
    "split unevenly": (
        (2, 7),
        lambda m, v: m.node("Concat", m.node("Split", [v, i64(m, [2, 4, 1])], outputs=3, axis=1)[::-1], axis=1),
    ),
    "reflect a vector": ((5,), padded([2, 4], "reflect")),
    "transpose of six axes": (
        (2, 3, 2, 2, 3, 2),
        lambda m, v: m.node("Reshape", [m.node("Transpose", [v], perm=[5, 3, 1, 0, 2, 4]), i64(m, [-1])]),
    ),
    "reverse sequence": (
        (5, 3, 4),
        lambda m, v: m.node("ReverseSequence", [v, i64(m, [4, 1, 5])], time_axis=0, batch_axis=1),
    ),
    "reverse sequence of batches": (
        (3, 5, 2),
        lambda m, v: m.node("ReverseSequence", [v, i64(m, [4, 1, 0])], time_axis=1, batch_axis=0),
    ),
}


@pytest.mark.parametrize("case", TAILS)
def test_between_equal_scales(case: str) -> None:
    check_onnx(behind(TAILS[case]), transposes=None)


@pytest.mark.parametrize("case", [c for c in TAILS if "scatter" not in c and "constant" not in c])
def test_between_other_scales_of_uint8(case: str) -> None:
    check_onnx(behind(TAILS[case], dtype="uint8", other=True), transposes=None)


@pytest.mark.parametrize("case", EVERYWHERE)
def test_what_a_convolution_computes_goes_through(case: str) -> None:
    graph = check_onnx(behind_conv(EVERYWHERE[case]))
    assert not [n for n in graph.nodes if n.op == "transpose"], "all of these know channels last"


@pytest.mark.parametrize("case", RANKS)
def test_other_ranks(case: str) -> None:
    shape, tail = RANKS[case]
    check_onnx(behind(tail, shape), transposes=None)


@pytest.mark.parametrize("kind, attrs", [("Identity", {}), ("Transpose", {"perm": [0, 3, 1, 2]}), ("Dropout", {})])
def test_an_output_that_is_the_input_is_a_copy(kind: str, attrs: dict[str, object], tmp_path: Path) -> None:
    blob = behind(lambda m, v: m.node(kind, [v], **attrs))
    graph = check_onnx(blob)
    assert set(graph.inputs).isdisjoint(graph.outputs)
    check_c([graph], tmp_path, 3, optimize=True)


def test_a_value_that_is_two_outputs_is_copied() -> None:
    m = Model(3)
    x = m.qdq(m.input([1, 3, 4, 4]), "int8", 0.1, 5)
    y = m.qdq(m.node("Add", [x, x]), "int8", 0.2, 5)
    graph = check_onnx(m.build(m.node("Identity", [y]), m.node("Identity", [y])))
    assert len(set(graph.outputs)) == 2


@pytest.mark.parametrize("kind, more", [("Trilu", []), ("CenterCropPad", [np.array([1, 8, 6, 9])])])
def test_integers_are_filled_up_with_the_integer_0(kind: str, more: list[np.ndarray]) -> None:  # type: ignore[type-arg]
    """ONNX Runtime has neither for all integers: the oracle is ONNX's own evaluator."""
    m = Model(31, opset=19)
    p = m.params("int8", 0.1, 5)
    integers = m.node(kind, [m.node("QuantizeLinear", [m.input(list(SHAPE)), *p]), *(i64(m, a) for a in more)])
    blob = m.build(m.node("DequantizeLinear", [integers, *p]))
    graph, ports = load(blob)
    x = np.random.default_rng(3).integers(-128, 128, graph.tensors[graph.inputs[0]].shape).astype(np.int8)
    given = importer.to_file(ports.inputs[0], x)
    (wanted,) = ReferenceEvaluator(onnx.load_from_string(blob)).run(None, {ports.inputs[0].file_name: given})
    found = importer.to_file(ports.outputs[0], reference.run(graph, {graph.inputs[0]: x})[graph.outputs[0]])
    assert found.shape == wanted.shape and np.allclose(found, wanted, atol=1e-6)


def test_wrapped_padding_is_what_onnx_says() -> None:
    """The runtime knows the mode from opset 19 on."""
    m = Model(31, opset=19)
    x = m.qdq(m.input([1, 2, 4, 6]), "int8", 0.1, 5)
    y = m.node("Pad", [x, i64(m, [0, 0, 2, 3, 0, 0, 1, 5])], mode="wrap")
    check_onnx(m.build(m.qdq(y, "int8", 0.1, 5)))


def embedding(dtype: str) -> bytes:
    """Tokens, a table of constants, a sum over them."""
    m = Model(8)
    tokens = m.input([1, 5], dtype)
    table = m.weights((11, 6), axis=None, zero=3)
    found = m.qdq(m.node("Gather", [table, tokens], axis=0), "int8", 0.02, -4)
    return m.build(m.qdq(m.node("ReduceMean", [found], axes=[1], keepdims=0), "int8", 0.01, 0))


def one_hot(axis: int = -1) -> bytes:
    m = Model(8)
    hot = m.node("OneHot", [m.input([2, 5], "int64"), i64(m, 11), m.const([-0.2, 0.7], np.float32)], axis=axis)
    return m.build(m.qdq(hot, "uint8", 0.01, 40))


@pytest.mark.parametrize(
    "blob, low", [(embedding("int32"), 0), (embedding("int64"), 0), (one_hot(), -14), (one_hot(1), 0)]
)
def test_tokens_of_run_time(blob: bytes, low: int) -> None:
    """low: OneHot takes any index, a table's end is an error in the runtime."""
    graph, ports = load(blob)
    assert graph.tensors[graph.inputs[0]].dtype.value == "int32"
    rng = np.random.default_rng(2)
    for _ in range(4):
        sample = rng.integers(low, 11 - low, graph.tensors[graph.inputs[0]].shape).astype(np.int32)
        (answer,) = oracle.onnxruntime(blob, [[importer.to_file(ports.inputs[0], sample)]])[0]
        values = reference.run(graph, {graph.inputs[0]: sample})
        wanted = importer.from_file(ports.outputs[0], answer)
        assert np.array_equal(values[graph.outputs[0]], wanted)


@pytest.mark.parametrize(
    "tail, found",
    [
        (lambda m, v: m.node("Gather", [v, i64(m, [8])], axis=1), "outside an axis of 8"),
        (lambda m, v: m.node("GatherElements", [v, i64(m, ROWS[0])], axis=1), "indices of shape"),
        (lambda m, v: m.node("GatherND", [v, i64(m, [[0, 8]])]), "outside an axis of 8"),
        (lambda m, v: m.node("DepthToSpace", [v], blocksize=3), "blocks of 3"),
        (lambda m, v: m.node("SpaceToDepth", [v], blocksize=4), "blocks of 4"),
        (lambda m, v: m.node("Tile", [v, i64(m, [1, 1, 1])]), "times a value"),
        (lambda m, v: m.node("Tile", [v, i64(m, [1, 1, 1 << 20, 1 << 20])]), "of a value"),
        (lambda m, v: m.node("Expand", [v, i64(m, [1, 3, 4, 6])]), "to"),
        (padded([0, 0, 4, 0, 0, 0, 0, 0], "reflect"), "mode 'reflect'"),
        (padded([0, 0, 0, 0, 0, 0, 0, 0], "mirror"), "mode 'mirror'"),
        (padded([0, 0, 1 << 40, 0, 0, 0, 0, 0], "edge"), "pads"),
        (scatter("ScatterND", [[0, 8]], (1, 4, 6)), "do not fit"),
        (scatter("ScatterElements", ROWS + 9, (1, 8, 3, 6), axis=2), "do not fit"),
        (lambda m, v: m.node("ReverseSequence", [v, i64(m, [5] * 8)], time_axis=2, batch_axis=1), "lengths"),
        (lambda m, v: m.node("CenterCropPad", [v, i64(m, [0, 9])], axes=[2, 3]), "to"),
        (lambda m, v: m.node("Unsqueeze", [v, i64(m, [0, -6])]), "one axis twice"),
        (lambda m, v: m.node("Squeeze", [v, i64(m, [])]), "empty list of axes"),
        (lambda m, v: m.node("GlobalMaxPool", [m.node("Reshape", [v, i64(m, [2, 4, 4, 6])])]), "2 images"),
    ],
)
def test_what_does_not_fit_is_refused(tail: Tail, found: str) -> None:
    with pytest.raises(McucError, match=found):
        load(behind(tail))


def f32(m: Model, values: object) -> str:
    return m.const(values, np.float32)


CONSTANTS: dict[str, tuple[list[int], Callable[[Model], str]]] = {
    "one hot": ([3, 4], lambda m: m.node("OneHot", [i64(m, [1, -1, 0]), i64(m, 4), f32(m, [1, 3])])),
    "eye like": ([3, 5], lambda m: m.node("EyeLike", [f32(m, np.zeros((3, 5)))], k=1)),
    "range": ([6], lambda m: m.node("Range", [f32(m, v) for v in (0, 3, 0.5)])),
    "constant of shape": ([2, 3], lambda m: m.node("ConstantOfShape", [i64(m, [2, 3])])),
    "tile": ([4, 2], lambda m: m.node("Tile", [f32(m, [[1, 2]]), i64(m, [4, 1])])),
    "trilu": ([3, 3], lambda m: m.node("Trilu", [f32(m, np.arange(9.0).reshape(3, 3))], upper=0)),
    "scatter": ([4], lambda m: m.node("ScatterND", [f32(m, [0, 1, 2, 3]), i64(m, [[2]]), f32(m, [9])])),
    "sum by no axes": ([1, 1], lambda m: m.node("ReduceSum", [f32(m, [[1, 2]]), i64(m, [])])),
    "sum of each": ([1, 2], lambda m: m.node("ReduceSum", [f32(m, [[1, 2]]), i64(m, [])], noop_with_empty_axes=1)),
    "integers towards zero": (
        [4], lambda m: m.node("Cast", [m.node("Div", [i64(m, [-7, 7, -8, 1]), i64(m, [2, -2, 2, 3])])], to=1)
    ),
    "gather elements": (
        [1, 2], lambda m: m.node("GatherElements", [f32(m, [[0, 1, 2]]), i64(m, [[2, -1]])], axis=1)
    ),
}


@pytest.mark.parametrize("case", CONSTANTS)
def test_at_compile_time(case: str) -> None:
    """The constant is added to the input: it is what the runtime computes."""
    shape, made = CONSTANTS[case]
    m = Model(9, opset=17)
    x = m.qdq(m.input(shape), "int8", 0.1, 5)
    constant = m.qdq(made(m), "int8", 0.05, 2)
    graph = check_onnx(m.build(m.qdq(m.node("Add", [x, constant]), "int8", 0.12, 5)))
    assert len(graph.nodes) == 1


def test_size_of_a_value_is_known() -> None:
    m = Model(9)
    x = m.qdq(m.input([1, 3, 2, 2]), "int8", 0.1, 5)
    count = m.node("Unsqueeze", [m.node("Size", [x]), i64(m, [0])])
    graph = check_onnx(m.build(m.qdq(m.node("Reshape", [x, count]), "int8", 0.1, 5)), transposes=1)
    assert graph.tensors[graph.outputs[0]].shape == (12,)


def test_c_equals_the_reference_through_every_tiling(tmp_path: Path) -> None:
    blobs = [behind(tail) for tail in TAILS.values()] + [behind(tail, shape) for shape, tail in RANKS.values()]
    graphs: list[Graph] = [load(blob)[0] for blob in [*blobs, embedding("int64"), one_hot()]]
    check_c(graphs, tmp_path, 3, optimize=True)
