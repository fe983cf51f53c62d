"""Model files in order that mutations start from: exports of small networks, and the files of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mutations import Seed
from onnx import TensorProto, helper, numpy_helper

from mcuc.quantize.network import convert
from mcuc.quantize.quantizer import Options

EXTERNAL = "weights.bin"  # beside every mutant, and link.bin, which leads outside its folder


def float_model(seed: int = 0) -> Any:
    """Convolution, batch norm, residual sum, pools, concatenation, constant reshape, dense, softmax: about 5 KB."""
    rng = np.random.default_rng(seed)

    def constant(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.normal(0, 0.4, shape).astype(np.float32), name)

    constants = [
        constant("w1", 6, 3, 3, 3), constant("b1", 6), constant("w2", 6, 1, 3, 3), constant("w3", 6, 6, 1, 1),
        constant("scale", 6), constant("shift", 6), constant("mean", 6), constant("w4", 5, 48), constant("b4", 5),
        numpy_helper.from_array(np.abs(rng.normal(1, 0.1, 6)).astype(np.float32), "variance"),
        numpy_helper.from_array(np.array([1, 48], np.int64), "flat"),
    ]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c1", "scale", "shift", "mean", "variance"], ["n1"], "norm"),
        helper.make_node("Relu", ["n1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "depthwise", group=6, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c2", "w3"], ["c3"], "pointwise"),
        helper.make_node("Add", ["c3", "r1"], ["s"], "sum"),
        helper.make_node("MaxPool", ["s"], ["m"], "max", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("AveragePool", ["s"], ["a"], "average", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Concat", ["m", "a"], ["j"], "join", axis=1),
        helper.make_node("Reshape", ["j", "flat"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["d"], "dense", transB=1),
        helper.make_node("Softmax", ["d"], ["y"], "softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def external_model() -> tuple[bytes, bytes]:
    """The float model with its largest constant in a file beside it, and that file."""
    model = float_model(1)
    held = next(t for t in model.graph.initializer if t.name == "w4")
    data = held.raw_data
    held.ClearField("raw_data")
    held.data_location = TensorProto.EXTERNAL
    for key, value in (("location", EXTERNAL), ("offset", "0"), ("length", str(len(data)))):
        entry = held.external_data.add()
        entry.key, entry.value = key, value
    return bytes(model.SerializeToString()), data


def small_seeds() -> list[Seed]:
    """A float network, the same with external data, and its exports as int8 in both formats and both profiles."""
    model = float_model()
    samples = [np.random.default_rng(2).normal(size=(8, 1, 3, 8, 8)).astype(np.float32)]
    made = convert(model, "small", "small", samples, Options(methods=("minmax",), equalize=(False,), compensate=False))
    assert made.tflite is not None
    return [
        Seed("small_float.onnx", ".onnx", bytes(model.SerializeToString()), True),
        Seed("small_external.onnx", ".onnx", external_model()[0], True),
        Seed("small_int8.onnx", ".onnx", made.onnx),
        Seed("small_int8.tflite", ".tflite", made.tflite),
    ]


def folder_seeds(folder: Path) -> list[Seed]:
    """Every .tflite and .onnx file of a folder. The smaller float ones are quantized too, the others only read."""
    found = sorted(p for p in folder.iterdir() if p.suffix in (".tflite", ".onnx"))
    return [Seed(p.name, p.suffix, p.read_bytes(), "fp32" in p.name and p.stat().st_size < 400_000) for p in found]


def surroundings(folder: Path) -> None:
    """What escapes of external data find: a file to read in the folder, one outside it, a link to that."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "outside.bin").write_bytes(bytes(4096))
    (folder / EXTERNAL).write_bytes(external_model()[1])
    if not (folder / "link.bin").is_symlink():
        (folder / "link.bin").symlink_to("../outside.bin")
