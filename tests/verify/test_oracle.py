"""The oracles answer, and survive what their runtimes do not."""

from __future__ import annotations

import os
import signal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.ir import DType, Graph, Node, Quant, Tensor
from mcuc.ops._unary import TableAttrs
from mcuc.verify import oracle


def _relu6() -> bytes:
    quant = Quant((0.0625,), (0,))
    tensors = {n: Tensor(n, (1, 4), DType.INT8, quant) for n in "xy"}
    table = bytes(np.clip(np.roll(np.arange(-128, 128), -128), 0, 96).astype(np.uint8))
    return exporter.export(Graph("m", "tflite", tensors, (Node("0", "clip", ("x",), ("y",), TableAttrs(table)),),
                                 ("x",), ("y",)))


def _add() -> bytes:
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", ends[:2], ends[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


X = np.array([[-128, 5, 96, 127]], np.int8)


@pytest.mark.parametrize("runtime", [oracle.tflite_micro, oracle.litert_reference])
def test_answers_each_sample(runtime) -> None:  # type: ignore[no-untyped-def]
    found = runtime(_relu6(), [[X.reshape(4)], [X[:, ::-1]], [X]])
    assert [f[0].tolist() for f in found] == [[[0, 5, 96, 96]], [[96, 96, 5, 0]], [[0, 5, 96, 96]]]
    assert found[0][0].dtype == np.int8


def test_no_samples_no_answers() -> None:
    assert oracle.tflite_micro(_relu6(), []) == []


def test_onnxruntime_with_two_inputs() -> None:
    a, b = np.array([1, 2], np.float32), np.array([10, 20], np.float32)
    assert oracle.onnxruntime(_add(), [[a, b], [b, b]])[1][0].tolist() == [20.0, 40.0]


@pytest.mark.parametrize("runtime", [oracle.tflite_micro, oracle.litert_reference, oracle.onnxruntime])
@pytest.mark.parametrize("raw", [b"", b"nonsense" * 40, b"\x1c\0\0\0TFL3" + b"\xff" * 400])
def test_hostile_file_is_an_error_and_the_next_call_works(runtime, raw: bytes) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(McucError) as caught:
        runtime(raw, [[X]])
    assert caught.value.code in ("oracle-failed", "oracle-crashed")
    assert oracle.tflite_micro(_relu6(), [[X]])[0][0].tolist() == [[0, 5, 96, 96]]


def test_truncated_model() -> None:
    raw = _relu6()
    for cut in range(20, len(raw), 97):
        with pytest.raises(McucError):
            oracle.tflite_micro(raw[:cut], [[X]])


def test_wrong_number_of_elements() -> None:
    with pytest.raises(McucError) as caught:
        oracle.tflite_micro(_relu6(), [[np.zeros((1, 5), np.int8)]])
    assert caught.value.code == "oracle-failed"


def test_time_limit_ends_the_child() -> None:
    oracle.tflite_micro(_relu6(), [[X]])
    child = oracle._workers["tflite_micro"].process
    with pytest.raises(McucError) as caught:
        oracle.tflite_micro(_relu6(), [[X]] * 2000, seconds=0.0001)
    assert caught.value.code == "oracle-timeout"
    assert child.poll() is not None


def test_dead_child_is_replaced() -> None:
    oracle.tflite_micro(_relu6(), [[X]])
    process = oracle._workers["tflite_micro"].process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert oracle.tflite_micro(_relu6(), [[X]])[0][0].tolist() == [[0, 5, 96, 96]]


def test_memory_limit() -> None:
    """A model that asks for more than the limit is refused by the runtime, not by this machine."""
    huge = (1, 1 << 14, 1 << 14, 64)
    quant = Quant((0.0625,), (0,))
    tensors = {n: Tensor(n, huge, DType.INT8, quant) for n in "xy"}
    table = bytes(np.clip(np.roll(np.arange(-128, 128), -128), 0, 96).astype(np.uint8))
    raw = exporter.export(Graph("m", "tflite", tensors, (Node("0", "clip", ("x",), ("y",), TableAttrs(table)),),
                                ("x",), ("y",)))
    with pytest.raises(McucError):
        oracle.litert_reference(raw, [[np.zeros(1, np.int8)]])


def test_versions_name_the_package() -> None:
    assert oracle.version("tflite_micro").startswith("tflite-micro ")
    assert "cpu[" in oracle.version("onnxruntime")


def test_the_importer_reads_what_the_oracle_ran() -> None:
    assert importer.parse(_relu6(), "m.tflite", "m").nodes[0].op == "clip"
