"""What chooses, compares, reduces and computes in float32, against ONNX Runtime: exact where no float sum rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import Model, check_onnx, load, samples

from mcuc.errors import McucError
from mcuc.importers.onnx import from_file, to_file
from mcuc.ir import Graph
from mcuc.verify import oracle, reference

SHAPES = {
    "same": ([1, 4, 5, 6], [1, 4, 5, 6]),
    "channel": ([1, 4, 5, 6], [1, 4, 1, 1]),
    "both": ([1, 4, 1, 6], [1, 1, 5, 6]),
    "lower rank": ([1, 4, 5, 6], [5, 6]),
    "vectors": ([1, 7], [1, 7]),
}
COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


def two(kind: str, case: str, dtype: str = "int8", out: bool = True, alike: bool = False, seed: int = 3,
        **attrs: Any) -> bytes:
    """The operator between two quantized inputs, its result quantized where it is a number."""
    m = Model(seed, opset=18 if kind == "Mean" else 17)
    same = {"scale": 0.04, "zero": 5} if alike else {}
    a, b = (m.qdq(m.input(shape), dtype, **same) for shape in SHAPES[case])
    y = m.node(kind, [a, b], **attrs)
    return m.build(m.qdq(y, dtype, **same) if out else y)


def reduction(kind: str, axes: list[int] | None, keep: int = 1, dtype: str = "int8", scale: float = 0.2,
              zero: int | None = None, source: tuple[float, int] | None = None, opset: int = 17) -> bytes:
    m = Model(14, opset=opset)
    x = m.qdq(m.input([1, 4, 5, 6]), dtype, *(source or (None, None)))
    inside = kind == "ReduceSum" or opset >= 18
    inputs = [x, m.const(axes, np.int64)] if inside and axes is not None else [x]
    attrs = {} if inside or axes is None else {"axes": axes}
    return m.build(m.qdq(m.node(kind, inputs, keepdims=keep, **attrs), dtype, scale, zero))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("kind", ["Max", "Min"])
def test_extremum(kind: str, case: str, dtype: str) -> None:
    check_onnx(two(kind, case, dtype))
    check_onnx(two(kind, case, dtype, alike=True))


@pytest.mark.parametrize("kind", ["Max", "Min"])
def test_extremum_of_four_with_constants_and_a_relu(kind: str) -> None:
    m = Model(5)
    a, b = m.qdq(m.input([1, 3, 4, 5])), m.qdq(m.input([1, 3, 4, 5]))
    constants = [m.const(0.31, np.float32), m.weights([3, 1, 1], axis=None)]
    check_onnx(m.build(m.qdq(m.node("Relu", [m.node(kind, [a, *constants, b])]))))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("kind", COMPARISONS)
def test_comparison(kind: str, case: str, dtype: str) -> None:
    check_onnx(two(kind, case, dtype, out=False, alike=kind == "Equal"))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", COMPARISONS)
def test_comparison_with_a_number(kind: str, first: bool) -> None:
    m = Model(2)
    pair = [m.qdq(m.input([1, 4, 5, 6]), "int8", 0.25, 1), m.const(1.25, np.float32)]
    check_onnx(m.build(m.node(kind, pair[::-1] if first else pair)))


@pytest.mark.parametrize("kind", ["And", "Or", "Xor"])
def test_logic(kind: str) -> None:
    m = Model(2)
    a, b, c = (m.qdq(m.input([1, 4, 5, 6])) for _ in range(3))
    truth = m.node(kind, [m.node("Less", [a, b]), m.node("Not", [m.node("Greater", [b, c])])])
    check_onnx(m.build(truth))


def test_truth_values_as_inputs() -> None:
    m = Model(2)
    a, b = m.input([1, 4, 5, 6], "bool"), m.input([1, 4, 5, 6], "bool")
    x, y = (m.qdq(m.input([1, 4, 5, 6])) for _ in range(2))
    check_onnx(m.build(m.qdq(m.node("Where", [m.node("Equal", [m.node("Xor", [a, b]), a]), x, y]))), count=6)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("case", SHAPES)
def test_where(case: str, dtype: str) -> None:
    m = Model(4)
    a, b = (m.qdq(m.input(shape), dtype) for shape in SHAPES[case])
    y = m.node("Where", [m.node("Less", [a, b]), b, a])
    check_onnx(m.build(m.qdq(y, dtype)))


def test_where_with_a_constant_branch() -> None:
    m = Model(4)
    a = m.qdq(m.input([1, 4, 5, 6]))
    condition = m.const(m.rng.integers(0, 2, [1, 4, 5, 6]).astype(bool))
    check_onnx(m.build(m.qdq(m.node("Where", [condition, a, m.const(-0.7, np.float32)]))))


def test_a_truth_value_as_a_number() -> None:
    """A mask: Cast to float, times a value."""
    m = Model(6)
    a = m.qdq(m.input([1, 4, 5, 6]))
    mask = m.qdq(m.node("Cast", [m.node("Greater", [a, m.const(0.1, np.float32)])], to=1), "int8", 1 / 64, 0)
    check_onnx(m.build(m.qdq(m.node("Mul", [a, mask]))))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("kind", ["Sub", "Div"])
def test_float32_steps(kind: str, case: str, dtype: str) -> None:
    check_onnx(two(kind, case, dtype))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["Sub", "Div"])
def test_float32_steps_on_ties(kind: str, seed: int) -> None:
    """Equal scales: half of all results lie on a tie or next to it."""
    check_onnx(two(kind, "same", "int8", alike=True, seed=seed))


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("kind", ["Sum", "Mean"])
def test_sum_and_mean_of_several(kind: str, count: int) -> None:
    m = Model(7)
    parts = [m.qdq(m.input([1, 4, 5, 6] if i != 1 else [4, 1, 1])) for i in range(count)]
    check_onnx(m.build(m.qdq(m.node("Relu", [m.node(kind, parts)]), scale=0.11)))


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5])
def test_power_with_a_constant_exponent(exponent: float) -> None:
    m = Model(8)
    x = m.qdq(m.input([1, 4, 5, 6]), "int8", 0.03, -128)
    check_onnx(m.build(m.qdq(m.node("Pow", [x, m.const(exponent, np.float32)]), "int8", 0.2, -128)))


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [1], [3], [1, 3], None])
@pytest.mark.parametrize("kind", ["ReduceMax", "ReduceMin"])
def test_largest_and_smallest(kind: str, axes: list[int] | None, keep: int) -> None:
    check_onnx(reduction(kind, axes, keep, scale=0.03))


@pytest.mark.parametrize("axes", [[2, 3], [1], [-1], [1, 3], None])
@pytest.mark.parametrize("kind", ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare"])
def test_sums_and_norms(kind: str, axes: list[int] | None) -> None:
    scale = {"ReduceSum": 0.17, "ReduceMean": 0.013, "ReduceL1": 0.61, "ReduceL2": 0.19}.get(kind, 1.3)
    check_onnx(reduction(kind, axes, 1, "int8", scale, -128 if kind[6] in "LS" and kind != "ReduceSum" else None),
               steps=1, share=0.005, count=20)


def test_norms_of_opset_18() -> None:
    check_onnx(reduction("ReduceL2", [1], 0, "uint8", 0.17, 0, opset=18), steps=1, share=0.005, count=20)


@pytest.mark.parametrize("kind", ["ReduceL1", "ReduceSumSquare", "ReduceSum"])
def test_by_no_axes_each_element_is_a_sum_of_its_own(kind: str) -> None:
    m = Model(7, opset=18)
    y = m.node(kind, [m.qdq(m.input([1, 4, 5, 6]), "int8", 0.05, 3)], noop_with_empty_axes=1, keepdims=0)
    check_onnx(m.build(m.qdq(y, "int8", 0.0613, -20)), steps=1, share=0.005)


def test_logarithm_of_a_sum() -> None:
    check_onnx(reduction("ReduceLogSum", [1], 1, "int8", 0.03, -10, source=(0.05, -128)), steps=1, share=0.005,
               count=20)


def test_logarithm_of_what_may_be_negative_is_refused() -> None:
    with pytest.raises(McucError, match="may be negative"):
        load(reduction("ReduceLogSum", [1], source=(0.05, 3)))


@pytest.mark.parametrize("axis", [-3, -2, -1, 1, 2, 3])
@pytest.mark.parametrize("kind", ["ArgMax", "ArgMin"])
def test_index(kind: str, axis: int) -> None:
    for last, keep in ((0, 1), (1, 0)):
        m = Model(9)
        x = m.qdq(m.input([1, 4, 5, 6]), "int8", 0.05, 3)
        check_onnx(m.build(m.node(kind, [x], axis=axis, keepdims=keep, select_last_index=last)))


def test_power_of_two_values_is_refused() -> None:
    with pytest.raises(McucError, match="Pow of two values"):
        load(two("Pow", "same"))


def test_logic_on_numbers_is_refused() -> None:
    m = Model(2)
    a = m.qdq(m.input([1, 4], "float32"))
    with pytest.raises(McucError, match="bool is needed"):
        load(m.build(m.qdq(m.node("Where", [a, a, a]))))


def test_c_equals_the_reference(tmp_path: Path) -> None:
    from harness import check_c

    graphs: list[Graph] = [load(two(kind, case))[0] for kind in ("Sub", "Div", "Max") for case in SHAPES]
    graphs += [load(reduction(kind, axes))[0] for kind in ("ReduceL2", "ReduceSumSquare", "ReduceSum", "ReduceMin")
               for axes in ([2, 3], [1, 3])]
    graphs += [load(two("Less", "both", out=False))[0]]
    m = Model(7)
    parts = [m.qdq(m.input([1, 4, 5, 6] if i != 1 else [4, 1, 1])) for i in range(3)]
    graphs.append(load(m.build(m.qdq(m.node("Mean", parts), scale=0.11)))[0])
    check_c(graphs, tmp_path)


@pytest.mark.parametrize("kind", ["int64", "int32", "bool"])
def test_padding_is_told_from_tokens(kind: str) -> None:
    """masked_fill(mask == 0) as exporters spell it, the mask being integers or truth values cast to them."""
    m = Model(8)
    x, mask = m.qdq(m.input([1, 3, 6])), m.input([1, 6], kind)
    number = m.node("Cast", [mask], to=7) if kind == "bool" else mask
    none = m.node("Equal", [number, m.const(0, kind if kind != "bool" else np.int64)])
    blob = m.build(m.qdq(m.node("Where", [none, m.const(-2.0, np.float32), x])))
    graph, ends = load(blob)
    masks = ([0] * 6, [1] * 6, [1, 0, 0, 7, -1, 0], [256] * 6)
    for (integers, _), mask_of in zip(samples(graph, 4), masks, strict=True):
        given = [integers, np.array([mask_of]).astype(graph.tensors[graph.inputs[1]].dtype.value)]
        (wanted,) = oracle.onnxruntime(blob, [[to_file(p, g) for p, g in zip(ends.inputs, given, strict=True)]])[0]
        found = reference.run(graph, dict(zip(graph.inputs, given, strict=True)))[graph.outputs[0]]
        assert np.array_equal(from_file(ends.outputs[0], wanted), found)


def test_truth_values_go_out_as_integers() -> None:
    m = Model(9)
    x = m.qdq(m.input([1, 3, 6]))
    check_onnx(m.build(m.node("Cast", [m.node("Greater", [x, m.const(0.1, np.float32)])], to=7)))


@pytest.mark.parametrize(("kind", "found"), [("Cast", "Cast of integers to float32"), ("Less", "Less of integers")])
def test_what_integers_do_not_do_is_refused_with_another_way(kind: str, found: str) -> None:
    m = Model(10)
    mask = m.input([1, 6], "int64")
    more = {"to": 1} if kind == "Cast" else {}
    y = m.node(kind, [mask] if kind == "Cast" else [mask, m.const(3, np.int64)], **more)
    x = m.qdq(m.input([1, 6]))
    with pytest.raises(McucError, match=found) as caught:
        load(m.build(m.qdq(m.node("Mul", [x, m.qdq(y)]) if kind == "Cast" else m.node("Where", [y, x, x]))))
    assert "bool" in caught.value.try_this
