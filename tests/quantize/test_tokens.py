"""Float networks that read indices: tokens stay integers, tables hold every row, time may come before the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mcuc.errors import McucError
from mcuc.quantize.network import convert
from mcuc.quantize.quantizer import Options
from mcuc.quantize.samples import load_samples
from mcuc.verify import oracle, reference

QUICK = Options(methods=("mse",), equalize=(False,), compensate=False)
ROWS, WIDTH, LENGTH = 9, 6, 5


def network(rng: np.random.Generator, last: float = 4.0) -> ModelProto:
    """One table that two inputs pick from; the last row is so many times as large as the others."""
    table = rng.uniform(-1, 1, (ROWS, WIDTH)).astype(np.float32)
    table[-1] *= last
    nodes = [
        helper.make_node("Gather", ["table", "a"], ["va"]),
        helper.make_node("Gather", ["table", "b"], ["vb"]),
        helper.make_node("Tanh", ["vb"], ["tb"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, LENGTH]) for n in "ab"]
    outs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, LENGTH, WIDTH]) for n in ("va", "tb")]
    graph = helper.make_graph(nodes, "tokens", ends, outs, [numpy_helper.from_array(table, "table")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_every_row_of_a_table_keeps_its_numbers_though_samples_pick_few() -> None:
    rng = np.random.default_rng(3)
    proto = network(rng)
    seen = [rng.integers(0, ROWS - 1, (12, 1, LENGTH)) for _ in "ab"]
    made = convert(proto, "tokens", "tokens", seen, QUICK)
    assert made.tflite is not None
    assert [made.graph.tensors[n].dtype.value for n in made.graph.inputs] == ["int32", "int32"]
    every = [np.arange(LENGTH, dtype=np.int32)[None] + k for k in range(ROWS - LENGTH + 1)]
    fed = [[x, x[:, ::-1].copy()] for x in every]
    found = [reference.run(made.graph, dict(zip(made.graph.inputs, x, strict=True))) for x in fed]
    real = oracle.onnxruntime(proto.SerializeToString(), [[x.astype(np.int64) for x in s] for s in fed])
    stock = oracle.litert_reference(made.tflite, fed)
    for out, number, worst in zip(made.graph.outputs, range(2), (0.02, 0.03), strict=True):
        quant = made.graph.tensors[out].quant
        assert quant is not None
        for steps, wanted, answers in zip(found, real, stock, strict=True):
            assert np.array_equal(steps[out], answers[number])
            back = (steps[out].astype(np.float64) - quant.zero_point[0]) * quant.scale[0]
            assert np.abs(back - wanted[number]).max() < worst


def test_tokens_outside_the_table_are_refused_by_name() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(McucError) as caught:
        convert(network(rng), "tokens", "tokens", [np.full((3, 1, LENGTH), ROWS)] * 2, QUICK)
    assert "indices element out of data bounds" in caught.value.found and caught.value.try_this


def test_a_row_that_is_no_number_is_refused_though_no_sample_picks_it() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(McucError, match="not finite"):
        convert(network(rng, np.nan), "tokens", "tokens", [np.zeros((3, 1, LENGTH))] * 2, QUICK)


def test_samples_of_a_network_whose_first_axis_is_time(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(0, 1, (8, 5, 1, 3)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    found = load_samples(str(tmp_path / "x.npz"), [(5, 1, 3)])
    assert found.calibration[0].shape[1:] == found.test[0].shape[1:] == (5, 1, 3)
    assert load_samples(str(tmp_path / "x.npz"), [(None, 5, 1, 3)]).test[0].shape[1:] == (1, 5, 1, 3)


def test_what_no_scale_can_help_is_refused_before_the_long_work() -> None:
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])]
    out = [helper.make_tensor_value_info("y", TensorProto.INT64, [1, 2])]
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("TopK", ["r", "k"], ["v", "y"])]
    graph = helper.make_graph(nodes, "best", values, out, [numpy_helper.from_array(np.array([2]), "k")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    stages: list[str] = []
    with pytest.raises(McucError, match="TopK") as caught:
        convert(proto, "best", "best", [np.zeros((4, 1, 8))], progress=lambda stage, done, total: stages.append(stage))
    assert not stages and "caller" in caught.value.try_this


def test_a_wish_for_tflite_is_refused_before_the_long_work() -> None:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 8]) for n in "xy"]
    constants = [numpy_helper.from_array(np.ones(8, np.float32), "scale")]
    nodes = [helper.make_node("LayerNormalization", ["x", "scale"], ["y"])]
    graph = helper.make_graph(nodes, "norm", values[:1], values[1:], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    stages: list[str] = []
    with pytest.raises(McucError, match="no TFLite form"):
        convert(
            proto,
            "norm",
            "norm",
            [np.ones((4, 1, 4, 8))],
            profile="tflite",
            progress=lambda stage, done, total: stages.append(stage),
        )
    assert not stages
