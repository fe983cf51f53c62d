"""Float .tflite -> float ONNX, the form that quantization works on (mcuc.quantize).

Tensors keep TFLite's order (channels last); convolutions and pools stand between two Transpose nodes, which ONNX
Runtime's transpose optimizer removes where they meet (mcuc.quantize.model).
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from mcuc.importers._flatbuffer import ModelFile, OperatorEntry, TensorEntry, corrupt, read
from mcuc.importers._float_tflite_graph import OPSET, Building, Operation, refuse
from mcuc.importers._float_tflite_ops import TRANSLATE
from mcuc.ir import Array

if TYPE_CHECKING:
    import onnx

MAX_ELEMENTS = 1 << 28
FLOAT32, FLOAT16, INT32, INT64 = 0, 1, 2, 4
_TYPES: dict[int, type] = {FLOAT32: np.float32, FLOAT16: np.float16, INT32: np.int32, INT64: np.int64}
_INTEGER = (3, 7, 9)  # uint8, int16, int8
_ENDS = {FLOAT32: 1, INT32: 6, INT64: 7, 6: 9}  # types of inputs and outputs as ONNX numbers them; 6: bool
_STATIC = "convert the float model with full integer quantization, or without any (optimizations = [])"


def to_onnx(raw: bytes, where: str, name: str) -> onnx.ModelProto:
    """The float ONNX model of a float .tflite file: same names of inputs and outputs, batch 1.

    Raises McucError: corrupt-model, hybrid-model (int8 weights beside float activations), unsupported-operator.
    """
    file = read(raw, where)
    try:
        return _translate(file, where, name)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, struct.error) as error:
        raise corrupt(where, f"the model's tables do not fit together ({type(error).__name__}: {error})") from error


def _translate(file: ModelFile, where: str, name: str) -> onnx.ModelProto:
    from onnx import checker, helper, numpy_helper

    graph = Building()
    names = [graph.name(t.name or f"tensor_{i}") for i, t in enumerate(file.tensors)]
    for tensor, label in zip(file.tensors, names, strict=True):
        graph.shapes[label] = _shape(tensor, label, where)
    quantized = [i for i in file.inputs if file.tensors[i].type in _INTEGER and len(file.tensors[i].scale)]
    if quantized or any(e.kind == "QUANTIZE" for e in file.operators):
        raise refuse(
            "not-float",
            "the model is quantized already",
            where,
            "compile it as it is: mcuc compile MODEL; or leave out --data",
        )
    for position in _needed(file):
        _operator(graph, file, file.operators[position], names, position)
    used = {n for node in graph.nodes for n in node.input}
    inputs, outputs = [
        [
            helper.make_tensor_value_info(names[i], _ENDS.get(file.tensors[i].type, 1), graph.shapes[names[i]])
            for i in side
        ]
        for side in (file.inputs, file.outputs)
    ]
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), n)
        for n, a in graph.constants.items()
        if n in used
    ]
    body = helper.make_graph(graph.nodes, name, inputs, outputs, constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="mcuc")
    try:
        checker.check_model(model)
    except checker.ValidationError as error:
        raise corrupt(where, f"the operators do not fit together ({str(error).splitlines()[0]})") from error
    return model


def _shape(tensor: TensorEntry, label: str, where: str) -> tuple[int, ...]:
    shape = tuple(1 if d == -1 else int(d) for d in tensor.shape)
    if any(d < 0 for d in shape) or prod(shape) > MAX_ELEMENTS:
        raise corrupt(where, f"tensor {label!r} has shape {shape}")
    return shape


def _needed(file: ModelFile) -> list[int]:
    """The operators that the outputs need, in order; a RESHAPE does not need its shape."""
    wanted, found = set(file.outputs), []
    for position in range(len(file.operators) - 1, -1, -1):
        entry = file.operators[position]
        if wanted & set(entry.outputs):
            found.append(position)
            wanted |= set(entry.inputs[:1] if entry.kind == "RESHAPE" else entry.inputs)
    return found[::-1]


def _operator(graph: Building, file: ModelFile, entry: OperatorEntry, names: list[str], position: int) -> None:
    where = f"{entry.kind} #{position}"
    if any(not -1 <= i < len(names) for i in (*entry.inputs, *entry.outputs)) or not entry.outputs:
        raise corrupt(where, "a tensor index is out of range")
    where += f", output tensor {names[entry.outputs[0]]!r}"
    for i in entry.inputs:
        if i >= 0:
            _constant(graph, file, i, names[i], entry, where)
    if entry.kind == "DEQUANTIZE":
        _dequantized(graph, file, entry, names, where)
        return
    if entry.kind not in TRANSLATE:
        raise refuse(
            "unsupported-operator",
            f"float TFLite operator {entry.kind} cannot be quantized",
            where,
            "convert the model to int8 with TensorFlow's converter, or replace this layer",
        )
    inputs = tuple(names[i] if i >= 0 else "" for i in entry.inputs)
    outputs = tuple(names[i] for i in entry.outputs)
    TRANSLATE[entry.kind](Operation(graph, entry.kind, entry.options, inputs, outputs, where))


def _constant(graph: Building, file: ModelFile, index: int, name: str, entry: OperatorEntry, where: str) -> None:
    """Registers the tensor's data, if it has any. Raises McucError for a hybrid model and for damaged data."""
    tensor = file.tensors[index]
    blob = None if name in graph.constants else file.buffer(tensor.buffer)
    if blob is None:
        return
    if tensor.type not in _TYPES:
        if entry.kind == "DEQUANTIZE":
            return
        raise refuse(
            "hybrid-model",
            f"constant {name!r} is quantized but the activations are float: a hybrid (dynamic-range) model",
            where,
            _STATIC,
        )
    dtype, wanted = np.dtype(_TYPES[tensor.type]), prod(graph.shapes[name])
    if len(blob) < wanted * dtype.itemsize:
        raise corrupt(where, f"tensor {name!r} needs {wanted * dtype.itemsize} bytes, its buffer has {len(blob)}")
    graph.constants[name] = blob[: wanted * dtype.itemsize].view(dtype).reshape(graph.shapes[name])


def _dequantized(graph: Building, file: ModelFile, entry: OperatorEntry, names: list[str], where: str) -> None:
    """A constant of float16 or int8 weights as float32."""
    tensor, source, out = file.tensors[entry.inputs[0]], names[entry.inputs[0]], names[entry.outputs[0]]
    data: Array | None = graph.constants.get(source)
    if data is None and tensor.type == 9 and (blob := file.buffer(tensor.buffer)) is not None:
        shape = graph.shapes[source]
        axis = [-1 if i == tensor.axis else 1 for i in range(len(shape))] if len(tensor.scale) > 1 else [1] * len(shape)
        zero = np.asarray(tensor.zero_point, np.float32) if len(tensor.zero_point) else np.zeros(1, np.float32)
        data = (
            blob[: prod(shape)].view(np.int8).reshape(shape).astype(np.float32)
            - zero.reshape(axis if len(zero) > 1 else [1] * len(shape))
        ) * np.asarray(tensor.scale, np.float32).reshape(axis)
    if data is None:
        raise refuse(
            "hybrid-model", f"DEQUANTIZE of {source!r}, computed at run time, in a float model", where, _STATIC
        )
    graph.constants[out] = data.astype(np.float32)
