"""ONNX files (QDQ and QOperator) -> Graph of profile "onnx", channels last. Reads the protobuf; nothing is executed.

A file in NCHW becomes NHWC here: weights are permuted, activations are stored channels last, and ONNX transposes and
reshapes only change the description of a value's order until an operator needs another one. So a network's C input
and output of rank 4 are NHWC as well; `interface` says how they relate to the file's, and `to_file`, `from_file`
carry samples across.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.importers import _onnx_moves as moves
from mcuc.importers import _onnx_nodes as handlers
from mcuc.importers import _onnx_proto as proto
from mcuc.importers._onnx_fold import can_fold, fold
from mcuc.importers._onnx_proto import FileGraph, FileInput, FileNode
from mcuc.importers._onnx_quant import dequantize, find_goal, integer_params, on_dequantize, on_quantize
from mcuc.importers._onnx_state import State, need, not_quantized, quant_of, refuse, stored_order, unique
from mcuc.importers._onnx_values import Layout, Params, Value, apply, channels_last, plain, undo
from mcuc.ir import Array, DType, Graph, Node, Quant, Tensor, check

Handler = Callable[[State, FileNode], Sequence[Value]]

_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"}
_DYNAMIC = {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM",
            "MatMulIntegerToFloat", "MatMulNBits"}
_QUANTIZE_STATIC = ("quantize it: onnxruntime.quantization.quantize_static('model.onnx', 'int8.onnx', calibration_reader, "
                    "quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)")


def _nothing(state: State, node: FileNode) -> dict[str, Any]:
    return {}


def _alpha(default: float, **more: float) -> Callable[[State, FileNode], dict[str, Any]]:
    def options(state: State, node: FileNode) -> dict[str, Any]:
        return {"alpha": float(node.attrs.get("alpha", default)), **{k: float(node.attrs.get(k, v)) for k, v in more.items()}}
    return options


HANDLERS: dict[str, Handler] = {
    "Add": handlers.on_binary, "AveragePool": moves.on_pool, "Cast": moves.on_cast, "Clip": handlers.on_clip, "Concat": moves.on_concat,
    "Conv": handlers.on_conv, "DequantizeLinear": lambda s, n: [on_dequantize(s, n)], "Div": handlers.on_binary, "Dropout": moves.on_identity,
    "Flatten": moves.on_reshape, "Gather": moves.on_slice, "Gemm": handlers.on_gemm, "GlobalAveragePool": moves.on_global_pool,
    "GlobalMaxPool": moves.on_global_pool, "HardSigmoid": handlers.unary("HardSigmoid", _alpha(0.2, beta=0.5)),
    "HardSwish": handlers.unary("HardSwish", _nothing), "Identity": moves.on_identity,
    "LeakyRelu": handlers.unary("LeakyRelu", _alpha(0.01)), "MatMul": handlers.on_matmul, "MaxPool": moves.on_pool,
    "Mul": handlers.on_binary, "Pad": moves.on_pad, "QLinearConv": handlers.on_qlinear_conv, "QLinearMatMul": handlers.on_qlinear_matmul,
    "QuantizeLinear": lambda s, n: [on_quantize(s, n)], "ReduceMean": moves.on_reduce_mean, "Relu": handlers.on_clip,
    "Reshape": moves.on_reshape, "Resize": moves.on_resize, "Shape": moves.on_shape,
    "Sigmoid": handlers.unary("Sigmoid", _nothing, handlers.PROBABILITY), "Slice": moves.on_slice, "Softmax": moves.on_softmax,
    "Split": moves.on_split, "Squeeze": moves.on_reshape, "Sub": handlers.on_binary, "Tanh": handlers.unary("Tanh", _nothing),
    "Transpose": moves.on_transpose, "Unsqueeze": moves.on_reshape,
}
MICROSOFT: dict[str, Handler] = {
    "DequantizeLinear": HANDLERS["DequantizeLinear"], "QuantizeLinear": HANDLERS["QuantizeLinear"], "QGemm": handlers.on_qgemm,
    "QLinearAdd": handlers.on_qlinear_binary("Add"), "QLinearAveragePool": moves.on_qlinear_average_pool,
    "QLinearConcat": moves.on_qlinear_concat, "QLinearGlobalAveragePool": moves.on_qlinear_global_average_pool,
    "QLinearLeakyRelu": handlers.on_qlinear_unary("LeakyRelu"), "QLinearMul": handlers.on_qlinear_binary("Mul"),
    "QLinearSigmoid": handlers.on_qlinear_unary("Sigmoid"), "QLinearSoftmax": moves.on_qlinear_softmax,
}


@dataclass(frozen=True)
class Port:
    """A graph input or output against the file's: name, type and shape there, order and quantization of the integers here."""

    name: str
    file_name: str
    file_dtype: str
    file_shape: tuple[int, ...]
    layout: Layout
    params: Params | None


@dataclass(frozen=True)
class Interface:
    """The ports in the order of graph.inputs and graph.outputs."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def load(path: Path) -> Graph:
    """The graph of an .onnx file: NHWC, uint8 shifted to int8, free batch read as 1, profile "onnx".

    Raises McucError: corrupt-model, not-quantized, unsupported-operator, dynamic-shape, external-data and others.
    """
    return parse(path.read_bytes(), str(path), path.stem, path.parent)


def parse(raw: bytes, where: str, name: str, folder: Path | None = None) -> Graph:
    """As load, from bytes; folder: where external data may lie."""
    return parse_with_interface(raw, where, name, folder)[0]


def parse_with_interface(raw: bytes, where: str, name: str, folder: Path | None = None) -> tuple[Graph, Interface]:
    """The graph and how its inputs and outputs relate to the file's."""
    try:
        return _import(proto.read(raw, where, folder), where, name)
    except McucError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, AssertionError, ZeroDivisionError,
            RecursionError) as error:
        raise proto.corrupt(where, f"the model's parts do not fit together ({type(error).__name__}: {error})") from error


def to_file(port: Port, array: Array) -> Array:
    """A sample in the graph's integers and order, as the file's input or output expects it."""
    ordered = undo(array, port.layout, port.file_shape)
    if port.file_dtype == "float32" and port.params is not None:
        shift = port.params.shift if ordered.dtype == np.int8 else 0
        return dequantize(ordered.astype(np.int64) + shift, port.params)
    if port.file_dtype == "uint8" and ordered.dtype == np.int8:
        return (ordered.view(np.uint8) ^ np.uint8(0x80)).astype(np.uint8)
    return ordered


def from_file(port: Port, array: Array) -> Array:
    """The file's input or output in the graph's integers and order (float is quantized, half to even)."""
    if array.dtype == np.float32 and port.params is not None:
        steps = np.rint(array / np.float32(port.params.scale[0])).astype(np.int64) + port.params.zero_point[0] - port.params.shift
        array = np.clip(steps, -128, 127).astype(np.int8)
    return apply(array, port.layout)


def _import(file: FileGraph, where: str, name: str) -> tuple[Graph, Interface]:
    _refuse_float(file, where)
    consumers: dict[str, list[tuple[FileNode, int]]] = {}
    for node in file.nodes:
        for index, used in enumerate(node.inputs):
            if used:
                consumers.setdefault(used, []).append((node, index))
    state = State(file, consumers, {n: Value(a.shape, a) for n, a in file.initializers.items()})
    _fold_ahead(state)
    ports = [_input(state, entry) for entry in file.inputs if consumers.get(entry.name)]
    if not ports:
        raise proto.corrupt(where, "no input of the graph is used")
    unused = [e.name for e in file.inputs if not consumers.get(e.name)]
    state.notes += [f"input {n!r} is not used and left out" for n in unused]
    state.notes += [f"batch of input {e.name!r} is free in the file and read as 1" for e in file.inputs if e.batch_free]
    for node in file.nodes:
        _run(state, node)
    return _finished(state, ports, where, name)


def _refuse_float(file: FileGraph, where: str) -> None:
    kinds = {n.kind for n in file.nodes}
    if kinds & _DYNAMIC:
        found = sorted(kinds & _DYNAMIC)[0]
        raise refuse("not-quantized", f"the model is quantized dynamically ({found}): its activations stay float", where, _QUANTIZE_STATIC)
    if not kinds & _QUANTIZED and not any(k.startswith(("QLinear", "QGemm")) for k in kinds):
        raise refuse("not-quantized", "the model is float: it has no QuantizeLinear and no QLinear operator", where, _QUANTIZE_STATIC)


def _fold_ahead(state: State) -> None:
    """Constants that do not depend on inputs, so that quantization parameters behind Constant nodes are known early."""
    for node in state.file.nodes:
        if not node.domain and can_fold(node.kind) and all(n in state.values for n in node.inputs if n):
            _fold(state, node)


def _fold(state: State, node: FileNode) -> None:
    arrays = []
    for used in node.inputs:
        value = state.values[used] if used else None
        array = None if value is None else value.array
        if value is not None and array is not None and value.real and value.params is not None and array.dtype != np.float32:
            array = dequantize(array, value.params)
        arrays.append(array)
    result = fold(node, arrays)
    state.values[node.outputs[0]] = Value(result.shape, result)


def _run(state: State, node: FileNode) -> None:
    if node.outputs and all(o in state.values for o in node.outputs if o):
        return
    table = MICROSOFT if node.domain else HANDLERS
    values = [state.values.get(n) for n in node.inputs if n]
    constant = all(v is not None and v.array is not None for v in values)
    quantized = any(v is not None and v.params is not None for v in values)
    foldable = not node.domain and constant and can_fold(node.kind)
    if foldable and not (quantized and node.kind in ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")):
        _fold(state, node)
        return
    if foldable and node.kind == "Identity":
        state.values[node.outputs[0]] = state.values[node.inputs[0]]
        return
    if node.kind not in table:
        raise _unsupported(node)
    if not node.inputs or not node.outputs:
        raise proto.corrupt(node.where, f"{node.kind} has no inputs or no outputs")
    for output, value in zip(node.outputs, table[node.kind](state, node), strict=False):
        if output:
            state.values[output] = value


def _unsupported(node: FileNode) -> McucError:
    if node.kind == "BatchNormalization":
        return refuse("unsupported-operator", "BatchNormalization behind quantization is not supported", node.where,
                      "fold it into the convolution before quantizing: onnxruntime.quantization.shape_inference.quant_pre_process")
    family = f"ONNX operator {node.kind}" if not node.domain else f"operator {node.kind} of {node.domain}"
    return refuse("unsupported-operator", f"{family} is not supported", node.where,
                  "run `mcuc check MODEL` for every node's verdict and `mcuc ops` for what is supported")


def _input(state: State, entry: FileInput) -> Port:
    """The graph input for one of the file: int8 where the file quantizes a float, else the file's own integers."""
    assert entry.shape is not None
    name = unique(state, entry.name)
    layout = _input_layout(state, entry.name, entry.shape)
    if entry.dtype == "float32":
        goal = find_goal(state, entry.name)
        if goal is None or goal.clamp != (-128, 127):
            raise not_quantized(entry.name, f"input {entry.name!r}")
        params: Params | None = goal.params
    elif entry.dtype in ("int8", "uint8"):
        params = integer_params(state, entry.name)
        if params is not None and params.dtype != entry.dtype:
            raise refuse("broken-model", f"input {entry.name!r} is {entry.dtype}, its zero point {params.dtype}", entry.name,
                         "export the model again")
    else:
        raise refuse("unsupported-type", f"input {entry.name!r} is {entry.dtype}", entry.name, "use a float32, int8 or uint8 input")
    quant = None if params is None else quant_of(params)
    tensor = Tensor(name, layout.stored, DType.INT8, quant)
    if entry.dtype == "uint8":
        tensor = _shift(state, name, layout, params, quant)
    state.tensors[tensor.name] = tensor
    known = params if params is not None or entry.dtype == "int8" else Params((1.0,), (0,), entry.dtype)
    state.values[entry.name] = Value(entry.shape, None, tensor, layout, known, real=entry.dtype == "float32")
    return Port(name, entry.name, entry.dtype, entry.shape, layout, params)


def _shift(state: State, name: str, layout: Layout, params: Params | None, quant: Quant | None) -> Tensor:
    """A uint8 input of the file stays uint8 for the caller; a node shifts it to the int8 inside."""
    from mcuc.ops.quantize import shift_uint8

    outer = None if params is None else Quant(params.scale, params.zero_point)
    state.tensors[name] = Tensor(name, layout.stored, DType.UINT8, outer)
    inner = Tensor(unique(state, f"{name}/int8"), layout.stored, DType.INT8, quant)
    state.nodes.append(Node(f"{name}/shift", "quantize", (name,), (inner.name,), shift_uint8()))
    return inner


def _input_layout(state: State, name: str, shape: tuple[int, ...]) -> Layout:
    """NHWC for rank 4, unless the file itself says NHWC by transposing first; NLC where a 1D convolution reads rank 3."""
    seen, first = [name], []
    while seen:
        for node, _ in state.consumers.get(seen.pop(), ()):
            if node.kind in ("QuantizeLinear", "DequantizeLinear", "Identity") and len(first) < 16:
                seen.extend(node.outputs)
            else:
                first.append(node)
    if len(shape) == 4:
        turned = first and all(n.kind == "Transpose" and tuple(n.attrs.get("perm", ())) == (0, 3, 1, 2) for n in first)
        return plain(shape) if turned else channels_last(shape)
    if len(shape) == 3 and first and all(n.kind in ("Conv", "QLinearConv") for n in first):
        return channels_last(shape)
    return plain(shape)


def _finished(state: State, inputs: list[Port], where: str, name: str) -> tuple[Graph, Interface]:
    outputs = []
    for entry in state.file.outputs:
        value = state.values.get(entry.name)
        if value is None or value.tensor is None or value.layout is None:
            raise refuse("broken-model", f"output {entry.name!r} is a constant or never computed", where, "export the model again")
        outputs.append(_output(state, entry, value))
    names = [p.name for p in outputs]
    if len(set(names)) < len(names) or set(names) & {p.name for p in inputs}:
        raise refuse("unsupported-output", "an output of the graph is an input or another output as well", where,
                     "remove the duplicate output")
    for port in (*inputs, *outputs):
        if port.layout.perm != tuple(range(len(port.layout.perm))) and not port.layout.is_plain():
            side = "input" if port in inputs else "output"
            state.notes.append(f"{side} {port.file_name!r} is {_dims(port.file_shape)} (channels first) in the file and "
                               f"{_dims(port.layout.stored)} (channels last) in C")
    used = {n for node in state.nodes for n in (*node.inputs, *node.outputs) if n} | {p.name for p in (*inputs, *outputs)}
    graph = Graph(name, "onnx", {k: v for k, v in state.tensors.items() if k in used}, tuple(state.nodes),
                  tuple(p.name for p in inputs), tuple(names), tuple(dict.fromkeys(state.notes)))
    return check(_without_dead(graph)), Interface(tuple(inputs), tuple(outputs))


def _without_dead(graph: Graph) -> Graph:
    """The graph without nodes whose result nobody reads (quantized values that only float readers wanted)."""
    needed, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed |= {n for n in node.inputs if n}
    needed |= set(graph.inputs)
    return replace(graph, nodes=tuple(reversed(kept)), tensors={k: v for k, v in graph.tensors.items() if k in needed})


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _output(state: State, entry: FileInput, value: Value) -> Port:
    assert value.tensor is not None and value.layout is not None
    perm = stored_order(value)
    tensor = need(state, value, perm, f"output {entry.name!r}")
    layout = Layout(value.shape, perm)
    dtype = "float32" if value.real else dtype_here(value)
    shown = tensor.name
    if dtype == "uint8":
        from mcuc.ops.quantize import shift_uint8

        shown = unique(state, re.sub(r"[^\x20-\x7e]", "?", f"{entry.name}/uint8"))
        outer = None if value.params is None else Quant(value.params.scale, value.params.zero_point)
        state.tensors[shown] = Tensor(shown, tensor.shape, DType.UINT8, outer)
        state.nodes.append(Node(f"{shown}/shift", "quantize", (tensor.name,), (shown,), shift_uint8()))
    return Port(shown, entry.name, dtype, value.shape, layout, value.params)


def dtype_here(value: Value) -> str:
    return value.params.dtype if value.params is not None else "int8"
