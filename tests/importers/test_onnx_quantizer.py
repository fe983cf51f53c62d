"""Networks from onnxruntime.quantization.quantize_static, as users have them: byte for byte against the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import check_onnx

quantization = pytest.importorskip("onnxruntime.quantization")


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
    """Eight random samples."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        rng = np.random.default_rng(3)
        self.data = iter([{"x": rng.normal(0, 1, shape).astype(np.float32)} for _ in range(8)])

    def get_next(self) -> Any:
        return next(self.data, None)


def float_network(kind: str) -> Any:
    """A small float network with input x [1, 3, 12, 12] in NCHW."""
    rng = np.random.default_rng(5)
    constants: list[Any] = []
    nodes: list[Any] = []

    def c(name: str, data: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(data), name))
        return name

    def w(name: str, *shape: int) -> str:
        return c(name, rng.normal(0, 0.3, shape).astype(np.float32))

    def n(op: str, inputs: list[str], out: str, **attrs: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [out], name=f"node_{out}", **attrs))
        return out

    n("Conv", ["x", w("w1", 8, 3, 3, 3), w("b1", 8)], "c1", pads=[1, 1, 1, 1], strides=[2, 2])
    n("Relu", ["c1"], "r1")
    if kind == "residual":
        n("Conv", ["r1", w("w2", 8, 8, 3, 3), w("b2", 8)], "c2", pads=[1, 1, 1, 1])
        n("Relu", ["c2"], "r2")
        n("Add", ["r1", "r2"], "a")
        n("GlobalAveragePool", ["a"], "g")
        n("Flatten", ["g"], "f")
        n("Gemm", ["f", w("w3", 10, 8), w("b3", 10)], "y", transB=1)
    elif kind == "mobile":
        n("Conv", ["r1", w("w2", 8, 1, 3, 3), w("b2", 8)], "c2", pads=[1, 1, 1, 1], group=8)
        n("Clip", ["c2", c("zero", np.float32(0)), c("six", np.float32(6))], "r2")
        n("Conv", ["r2", w("w3", 16, 8, 1, 1)], "c3")
        n("AveragePool", ["c3"], "p", kernel_shape=[2, 2], strides=[2, 2])
        n("Reshape", ["p", c("shape", np.array([1, -1], np.int64))], "f")
        n("MatMul", ["f", w("w4", 144, 10)], "m")
        n("Add", ["m", w("b4", 10)], "y")
    elif kind == "branches":
        n("MaxPool", ["r1"], "p", kernel_shape=[2, 2], strides=[2, 2])
        n("Conv", ["p", w("w2", 4, 8, 1, 1), w("b2", 4)], "c2")
        n("Conv", ["p", w("w3", 6, 8, 3, 3), w("b3", 6)], "c3", pads=[1, 1, 1, 1])
        n("Concat", ["c2", "c3"], "k", axis=1)
        n("Sigmoid", ["k"], "s")
        n("Mul", ["k", "s"], "m")
        n("Resize", ["m", "", c("scales", np.array([1, 1, 2, 2], np.float32))], "z", mode="nearest")
        n("Pad", ["z", c("pads", np.array([0, 0, 0, 1, 0, 0, 1, 0], np.int64))], "d")
        n("Flatten", ["d"], "f")
        n("Gemm", ["f", w("w4", 490, 10), w("b4", 10)], "g")
        n("Softmax", ["g"], "y", axis=-1)
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", ["residual", "mobile", "branches"])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("types", [("QInt8", "QInt8"), ("QUInt8", "QInt8"), ("QUInt8", "QUInt8")])
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantize_static(kind: str, form: str, types: tuple[str, str], per_channel: bool, tmp_path: Path) -> None:
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(float_network(kind), source)
    quantization.quantize_static(
        source,
        target,
        Reader((1, 3, 12, 12)),
        quant_format=getattr(quantization.QuantFormat, form),
        per_channel=per_channel,
        activation_type=getattr(quantization.QuantType, types[0]),
        weight_type=getattr(quantization.QuantType, types[1]),
    )
    check_onnx(target.read_bytes(), count=6)


def test_quantize_static_of_an_opset_that_has_no_axis_of_quantization(tmp_path: Path) -> None:
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    model = float_network("residual")
    model.opset_import[0].version = 11
    onnx.save(model, source)
    quantization.quantize_static(source, target, Reader((1, 3, 12, 12)), quant_format=quantization.QuantFormat.QDQ)
    assert onnx.load(target).opset_import[0].version == 11
    check_onnx(target.read_bytes(), count=6)
