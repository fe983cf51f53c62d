"""ONNX export: valid models, equal numbers in ONNX Runtime for profile onnx, counted differences for profile tflite."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

sys.path[:0] = [str(Path(__file__).parent.parent / "importers"), str(Path(__file__).parent.parent / "ops")]

import test_onnx_import as cases  # noqa: E402
import test_onnx_picks as picks  # noqa: E402
import test_onnx_resize as resizes  # noqa: E402
from onnx_models import Model, load, samples  # noqa: E402

from mcuc import passes  # noqa: E402
from mcuc.errors import McucError  # noqa: E402
from mcuc.exporters import onnx as exporter  # noqa: E402
from mcuc.exporters._names import renamed  # noqa: E402
from mcuc.importers import onnx as importer  # noqa: E402
from mcuc.importers import tflite  # noqa: E402


def network(dtype: str) -> bytes:
    m = Model(40)
    x = m.qdq(m.input([1, 3, 9, 8]), dtype)
    a = m.qdq(m.layer("Conv", x, m.weights((8, 3, 3, 3)), 8, pads=[1, 1, 1, 1], strides=[2, 2]), dtype, 0.2)
    b = m.qdq(m.layer("Conv", a, m.weights((8, 1, 3, 3)), 8, pads=[1, 1, 1, 1], group=8), dtype, 0.3)
    c = m.qdq(m.node("Relu", [m.qdq(m.node("Add", [a, b]), dtype, 0.4)]), dtype, 0.3)
    d = m.qdq(m.node("Concat", [c, m.qdq(m.node("Mul", [a, b]), dtype, 0.3)], axis=1), dtype, 0.3)
    e = m.qdq(m.node("Sigmoid", [m.qdq(m.node("MaxPool", [d], kernel_shape=[2, 2]), dtype, 0.3)]), dtype, 1 / 256)
    f = m.qdq(m.node("AveragePool", [e], kernel_shape=[2, 2]), dtype, 1 / 200)
    g = m.qdq(m.node("Flatten", [f]), dtype, 1 / 200)
    h = m.qdq(m.layer("Gemm", g, m.weights((10, 16 * 3 * 2), axis=None), 10, transB=1), dtype, 0.1)
    return m.build(m.qdq(m.node("Softmax", [h]), dtype, 1 / 255, -128 if dtype == "int8" else 0))


def doubled(tail: picks.Tail) -> picks.Tail:
    """A sum before it, so that the file has something to compute where its ends are integers."""
    return lambda m, v: tail(m, m.qdq(m.node("Add", [v, v]), "int8", 0.15, 4))


CASES: dict[str, bytes] = {
    "network": network("int8"),
    "network uint8": network("uint8"),
    "conv 1d": cases.qdq_conv(kernel=(1, 3)),
    "weights with zero point": cases.qdq_conv("uint8", "uint8", axis=None, zero=77),
    "gemm": cases.gemm(axis=0),
    "global": cases.pool("GlobalAveragePool", out=0.004),
    "relu6": cases.relu_after_conv(-20, True),
    "broadcast": cases.binary("Add", "int8", (1, 3, 5, 6), (1, 3, 1, 1)),
    "constant": cases.binary("Mul", "int8", (1, 3, 5, 6), (3, 1, 1), constant=True),
    "integer ends": cases.qlinear_conv("uint8", "int8"),
    **{name: cases.conv_then(tail) for name, (tail, _) in cases.MOVES.items()},
    **{f"pick: {name}": picks.behind(doubled(tail)) for name, tail in picks.TAILS.items()},
    **{f"rank: {name}": picks.behind(doubled(tail), shape) for name, (shape, tail) in picks.RANKS.items()},
    "gemm alpha": cases.gemm(alpha=0.5, bias=False),
    "times a number": picks.behind(lambda m, v: m.node("Mul", [v, m.const(1.7, np.float32)]), other=True),
    "a number minus": picks.behind(lambda m, v: m.node("Sub", [m.const(0.9, np.float32), v]), dtype="uint8"),
    "to a power, relu": picks.behind(
        lambda m, v: m.node("Relu", [m.node("Pow", [v, m.const(3, np.float32)])]), (1, 5), other=True
    ),
    "linear resize": resizes.resized((7, 13), "linear", coordinate_transformation_mode="align_corners"),
}


@pytest.mark.parametrize("style", ["qdq", "qoperator"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("float_ends", [True, False])
def test_exported_network_computes_the_same(case: str, style: Any, float_ends: bool) -> None:
    graph, _ = load(CASES[case])
    blob = exporter.export(graph, style, float_ends)
    onnx.checker.check_model(onnx.ModelProto.FromString(blob), full_check=True)
    difference = exporter.compare(graph, blob, samples(graph))
    assert difference.differing == 0 and difference.elements > 0, difference
    assert exporter.export(graph, style, float_ends) == blob


@pytest.mark.parametrize("style", ["qdq", "qoperator"])
@pytest.mark.parametrize("case", CASES)
def test_exported_network_is_read_back(case: str, style: Any) -> None:
    from mcuc.verify import reference

    graph, _ = load(CASES[case])
    again, _ = importer.parse_with_interface(exporter.export(graph, style, False), "again.onnx", graph.name)
    for sample in samples(graph):
        a = reference.run(graph, dict(zip(graph.inputs, sample, strict=True)))
        b = reference.run(again, dict(zip(again.inputs, sample, strict=True)))
        for x, y in zip(graph.outputs, again.outputs, strict=True):
            assert np.array_equal(a[x].reshape(-1), b[y].reshape(-1))


def test_a_file_that_is_read_back_in_another_order_is_compared_in_the_graphs() -> None:
    tail = doubled(lambda m, v: m.node("ReverseSequence", [v, picks.i64(m, [1, 0, 1])], time_axis=0, batch_axis=1))
    graph, _ = load(picks.behind(tail, (1, 3, 2, 2)))
    assert exporter.compare(graph, exporter.export(graph), samples(graph)).differing == 0


def test_what_opset_17_cannot_say_is_refused() -> None:
    m = Model(3, opset=19)
    v = m.node("AveragePool", [m.qdq(m.input([1, 2, 9, 9]))], kernel_shape=[2, 2], dilations=[2, 2])
    with pytest.raises(McucError, match="dilated"):
        exporter.export(load(m.build(m.qdq(v)))[0])
    graph, _ = load(CASES["times a number"])
    (node,) = (n for n in graph.nodes if n.op == "quantize")
    other = replace(node, attrs=replace(node.attrs, origin=None))
    with pytest.raises(McucError, match="another function"):
        exporter.export(replace(graph, nodes=tuple(other if n is node else n for n in graph.nodes)))


def test_a_name_like_the_writers_own_is_kept_apart() -> None:
    graph, _ = load(cases.gemm())
    taken = {graph.outputs[0]: f"{graph.inputs[0]}/inner/scale/1"}
    assert exporter.compare(graph, exporter.export(renamed(graph, taken)), samples(graph)).differing == 0


@pytest.mark.shared
@pytest.mark.parametrize("model", ["kws_dscnn_int8", "ic_resnet8_int8", "ad_autoenc_int8", "vww96_int8"])
@pytest.mark.parametrize("style", ["qdq", "qoperator"])
def test_tflite_network_differs_little_and_is_counted(shared_data: Path, model: str, style: Any) -> None:
    graph = tflite.load(shared_data / "models" / f"{model}.tflite")
    graph = passes.fold_constants(passes.normalize_boundary(graph))
    difference = exporter.compare(graph, exporter.export(graph, style), samples(graph, 4))
    print(model, style, difference)
    assert difference.elements > 0 and difference.differing < difference.elements
