"""Float .tflite files as ONNX: the same answers as TFLite's own kernels, operator by operator and for whole models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from float_files import operator_of

from mcuc.errors import McucError
from mcuc.importers.float_tflite import to_onnx
from mcuc.ir import Array
from mcuc.verify import oracle

RNG = np.random.default_rng(0)
F32, I32 = 0, 2


def file(
    kind: str,
    options: str,
    fields: dict[str, Any],
    inputs: list[Array | tuple[int, ...]],
    outputs: list[tuple[int, ...]],
) -> bytes:
    """A file of one operator: arrays are constants, shapes are inputs computed at run time."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, graph.tensors = 3, [schema.BufferT()], []
    for i, entry in enumerate([*inputs, *outputs]):
        tensor = schema.TensorT()
        data = entry if isinstance(entry, np.ndarray) else None
        tensor.name, tensor.buffer = f"t{i}", 0
        tensor.shape = list(entry.shape) if data is not None else list(entry)
        tensor.type = I32 if data is not None and data.dtype == np.int32 else F32
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
    code, operator = operator_of(kind, options, fields)
    operator.opcodeIndex, operator.inputs = 0, list(range(len(inputs)))
    operator.outputs = [len(inputs) + i for i in range(len(outputs))]
    graph.inputs = [i for i, e in enumerate(inputs) if not isinstance(e, np.ndarray)]
    graph.outputs, graph.operators = operator.outputs, [operator]
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def check(raw: bytes, shapes: list[tuple[int, ...]], positive: bool = False) -> None:
    """The translation computes what LiteRT's reference kernels do."""
    given = [RNG.normal(0, 2, s).astype(np.float32) for s in shapes]
    given = [np.abs(g) + np.float32(0.1) for g in given] if positive else given
    (wanted,) = oracle.litert_reference(raw, [given])
    session = onnxruntime.InferenceSession(to_onnx(raw, "case", "case").SerializeToString())
    found = session.run(None, {i.name: g for i, g in zip(session.get_inputs(), given, strict=True)})
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape and np.allclose(a, b, 1e-4, 1e-4)


def ints(*values: Any) -> Array:
    return np.array(values, np.int32)


def real(*shape: int) -> Array:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


X = (1, 7, 6, 4)
ACT = {"fusedActivationFunction": 1}
CONV = {"strideH": 2, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
POOL = {"strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 2}
CASES: dict[str, tuple[Any, ...]] = {
    "conv same": (
        "CONV_2D",
        "Conv2DOptions",
        {**CONV, **ACT, "padding": 0},
        [X, real(5, 3, 3, 4), real(5)],
        [(1, 4, 6, 5)],
    ),
    "conv valid, grouped": (
        "CONV_2D",
        "Conv2DOptions",
        {**CONV, "padding": 1, "fusedActivationFunction": 3},
        [X, real(6, 3, 2, 2), real(6)],
        [(1, 3, 5, 6)],
    ),
    "depthwise": (
        "DEPTHWISE_CONV_2D",
        "DepthwiseConv2DOptions",
        {**CONV, "padding": 0, "depthMultiplier": 2},
        [X, real(1, 3, 3, 8), real(8)],
        [(1, 4, 6, 8)],
    ),
    "depthwise, dilated": (
        "DEPTHWISE_CONV_2D",
        "DepthwiseConv2DOptions",
        {"strideH": 1, "strideW": 1, "dilationHFactor": 2, "dilationWFactor": 2, "padding": 0, "depthMultiplier": 1},
        [X, real(1, 3, 3, 4), real(4)],
        [X],
    ),
    "dense": ("FULLY_CONNECTED", "FullyConnectedOptions", ACT, [(2, 8), real(3, 8), real(3)], [(2, 3)]),
    "dense of an image": (
        "FULLY_CONNECTED",
        "FullyConnectedOptions",
        {},
        [(1, 2, 2, 3), real(5, 12), real(5)],
        [(1, 5)],
    ),
    "transposed conv": (
        "TRANSPOSE_CONV",
        "TransposeConvOptions",
        {"strideH": 2, "strideW": 2, "padding": 0},
        [ints(1, 8, 6, 5), real(5, 3, 3, 4), (1, 4, 3, 4)],
        [(1, 8, 6, 5)],
    ),
    "average pool": ("AVERAGE_POOL_2D", "Pool2DOptions", {**POOL, "padding": 0}, [X], [(1, 4, 3, 4)]),
    "max pool": ("MAX_POOL_2D", "Pool2DOptions", {**POOL, "padding": 1, **ACT}, [X], [(1, 3, 3, 4)]),
    "add": ("ADD", "AddOptions", ACT, [X, (1, 1, 1, 4)], [X]),
    "sub": ("SUB", "SubOptions", {}, [X, X], [X]),
    "mul": ("MUL", "MulOptions", {"fusedActivationFunction": 2}, [X, real(4)], [X]),
    "div": ("DIV", "DivOptions", {}, [X, np.abs(real(4)) + np.float32(0.5)], [X]),
    "maximum": ("MAXIMUM", "MaximumMinimumOptions", {}, [X, X], [X]),
    "minimum": ("MINIMUM", "MaximumMinimumOptions", {}, [X, X], [X]),
    "squared difference": ("SQUARED_DIFFERENCE", "SquaredDifferenceOptions", {}, [X, X], [X]),
    "softmax": ("SOFTMAX", "SoftmaxOptions", {"beta": 0.5}, [(3, 9)], [(3, 9)]),
    "leaky": ("LEAKY_RELU", "LeakyReluOptions", {"alpha": 0.2}, [X], [X]),
    "gelu": ("GELU", "GeluOptions", {"approximate": True}, [X], [X]),
    "prelu": ("PRELU", "", {}, [X, real(1, 1, 4)], [X]),
    "mean": ("MEAN", "ReducerOptions", {"keepDims": False}, [X, ints(1, 2)], [(1, 4)]),
    "sum": ("SUM", "ReducerOptions", {"keepDims": True}, [X, ints(3)], [(1, 7, 6, 1)]),
    "reduce max": ("REDUCE_MAX", "ReducerOptions", {"keepDims": True}, [X, ints(1)], [(1, 1, 6, 4)]),
    "reshape": ("RESHAPE", "ReshapeOptions", {"newShape": [6, 28]}, [X, ints(6, 28)], [(6, 28)]),
    "transpose": ("TRANSPOSE", "TransposeOptions", {}, [X, ints(0, 3, 1, 2)], [(1, 4, 7, 6)]),
    "pad": ("PAD", "PadOptions", {}, [X, np.array([[0, 0], [1, 2], [0, 1], [3, 0]], np.int32)], [(1, 10, 7, 7)]),
    "mirror pad": (
        "MIRROR_PAD",
        "MirrorPadOptions",
        {"mode": 0},
        [X, np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)],
        [(1, 10, 7, 4)],
    ),
    "concatenation": ("CONCATENATION", "ConcatenationOptions", {"axis": -1}, [X, X], [(1, 7, 6, 8)]),
    "slice": ("SLICE", "SliceOptions", {}, [X, ints(0, 1, 2, 0), ints(1, 3, -1, 2)], [(1, 3, 4, 2)]),
    "strided slice": (
        "STRIDED_SLICE",
        "StridedSliceOptions",
        {"beginMask": 8, "endMask": 8, "shrinkAxisMask": 2},
        [X, ints(0, 2, 5, 0), ints(1, 3, 1, 0), ints(1, 1, -2, 2)],
        [(1, 2, 2)],
    ),
    "split": ("SPLIT", "SplitOptions", {"numSplits": 2}, [ints(3), X], [(1, 7, 6, 2), (1, 7, 6, 2)]),
    "split in sizes": (
        "SPLIT_V",
        "SplitVOptions",
        {"numSplits": 2},
        [X, ints(3, 4), ints(1)],
        [(1, 3, 6, 4), (1, 4, 6, 4)],
    ),
    "pack": ("PACK", "PackOptions", {"axis": 1, "valuesCount": 2}, [(2, 3), (2, 3)], [(2, 2, 3)]),
    "unpack": ("UNPACK", "UnpackOptions", {"axis": 1, "num": 2}, [(3, 2, 4)], [(3, 4), (3, 4)]),
    "resize": ("RESIZE_BILINEAR", "ResizeBilinearOptions", {"halfPixelCenters": True}, [X, ints(5, 9)], [(1, 5, 9, 4)]),
    "resize corners": (
        "RESIZE_BILINEAR",
        "ResizeBilinearOptions",
        {"alignCorners": True},
        [X, ints(5, 9)],
        [(1, 5, 9, 4)],
    ),
    "nearest": ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", {}, [X, ints(14, 3)], [(1, 14, 3, 4)]),
    "matmul": (
        "BATCH_MATMUL",
        "BatchMatMulOptions",
        {"adjX": False, "adjY": True},
        [(2, 3, 5), (2, 4, 5)],
        [(2, 3, 4)],
    ),
    "depth to space": ("DEPTH_TO_SPACE", "DepthToSpaceOptions", {"blockSize": 2}, [X], [(1, 14, 12, 1)]),
    "space to depth": ("SPACE_TO_DEPTH", "SpaceToDepthOptions", {"blockSize": 2}, [(1, 4, 6, 3)], [(1, 2, 3, 12)]),
    "l2 norm": ("L2_NORMALIZATION", "L2NormOptions", {}, [(1, 9)], [(1, 9)]),
    "squeeze": ("SQUEEZE", "SqueezeOptions", {"squeezeDims": [0]}, [X], [X[1:]]),
    "expand": ("EXPAND_DIMS", "ExpandDimsOptions", {}, [(3, 4), ints(1)], [(3, 1, 4)]),
}
UNARY = (
    "ABS",
    "COS",
    "EXP",
    "HARD_SWISH",
    "LOGISTIC",
    "LOG_SOFTMAX",
    "NEG",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "SIN",
    "SQUARE",
    "TANH",
)


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_litert_does(name: str) -> None:
    kind, options, fields, inputs, outputs = CASES[name]
    check(file(kind, options, fields, inputs, outputs), [i for i in inputs if not isinstance(i, np.ndarray)])


@pytest.mark.parametrize("kind", UNARY)
def test_a_function_of_one_value_computes_what_litert_does(kind: str) -> None:
    check(file(kind, "", {}, [(2, 5)], [(2, 5)]), [(2, 5)])


def test_elu_computes_what_tflite_micro_does() -> None:
    """LiteRT has no reference kernel of it."""
    pytest.importorskip("tflite_micro")
    raw = file("ELU", "", {}, [(2, 5)], [(2, 5)])
    x = RNG.normal(0, 2, (2, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(to_onnx(raw, "case", "case").SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    assert np.allclose(found, oracle.tflite_micro(raw, [[x]])[0][0], 1e-5, 1e-5)


@pytest.mark.parametrize("kind", ("LOG", "RSQRT", "SQRT"))
def test_a_function_of_positive_values_computes_what_litert_does(kind: str) -> None:
    check(file(kind, "", {}, [(2, 5)], [(2, 5)]), [(2, 5)], positive=True)


@pytest.mark.parametrize("name", ("ic_resnet8_fp32", "vww96_fp32", "tm_mbv1_025_128_fp32"))
def test_a_model_gives_its_golden_answers(name: str, shared_data: Path) -> None:
    raw = (shared_data / "models" / f"{name}.tflite").read_bytes()
    with np.load(shared_data / "models" / f"golden_{name}.npz") as golden:
        x, wanted = golden["x"], golden["y0"]
    session = onnxruntime.InferenceSession(to_onnx(raw, name, name).SerializeToString())
    entry = session.get_inputs()[0].name
    found = np.stack([session.run(None, {entry: s[None].astype(np.float32)})[0] for s in x])
    assert np.abs(found.reshape(wanted.shape) - wanted).max() < 1e-4


def test_a_hybrid_model_is_refused_with_its_remedy(shared_data: Path) -> None:
    raw = (shared_data / "models" / "kws_dscnn_hybrid.tflite").read_bytes()
    with pytest.raises(McucError) as found:
        to_onnx(raw, "hybrid", "hybrid")
    assert found.value.code == "hybrid-model" and "full integer" in found.value.try_this


def test_an_operator_without_a_translation_is_named() -> None:
    with pytest.raises(McucError) as found:
        to_onnx(file("CUMSUM", "CumsumOptions", {}, [(2, 3), ints(1)], [(2, 3)]), "case", "case")
    assert found.value.code == "unsupported-operator" and "CUMSUM" in found.value.found
