"""The ends of an ONNX network: the graph's inputs and outputs against the file's, and samples carried across."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from mcuc.importers._onnx_proto import FileInput, FileNode
from mcuc.importers._onnx_quant import dequantize, find_goal, integer_params
from mcuc.importers._onnx_state import State, need, not_quantized, quant_of, refuse, stored_order, unique
from mcuc.importers._onnx_values import Layout, Params, Value, apply, channels_last, plain, undo
from mcuc.ir import Array, DType, Node, Quant, Tensor

_INDICES = ("int32", "int64")
_WINDOWS = ("AveragePool", "Conv", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "QLinearConv")


@dataclass(frozen=True)
class Port:
    """A graph input or output against the file's: name, type, shape there; order and quantization here."""

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


def in_file_order(port: Port, array: Array) -> Array:
    """A sample in the graph's order, in the file's order and shape."""
    return undo(array, port.layout, port.file_shape)


def to_file(port: Port, array: Array) -> Array:
    """A sample in the graph's integers and order, as the file's input or output expects it."""
    ordered = in_file_order(port, array)
    if port.file_dtype in _INDICES:
        return ordered.astype(port.file_dtype)
    if port.file_dtype == "float32" and port.params is not None:
        shift = port.params.shift if ordered.dtype == np.int8 else 0
        return dequantize(ordered.astype(np.int64) + shift, port.params)
    if port.file_dtype == "uint8" and ordered.dtype == np.int8:
        return (ordered.view(np.uint8) ^ np.uint8(0x80)).astype(np.uint8)
    return ordered


def from_file(port: Port, array: Array) -> Array:
    """The file's input or output in the graph's integers and order (float is quantized, half to even)."""
    if array.dtype == np.float32 and port.params is not None:
        steps = (
            np.rint(array / np.float32(port.params.scale[0])).astype(np.int64)
            + port.params.zero_point[0]
            - port.params.shift
        )
        array = np.clip(steps, -128, 127).astype(np.int8)
    if array.dtype == np.int64 or port.file_dtype in _INDICES:
        array = array.astype(np.int32)
    return apply(array, port.layout)


def input_port(state: State, entry: FileInput) -> Port:
    """The graph input for one of the file: int8 where the file quantizes a float, else the file's own integers."""
    assert entry.shape is not None
    if entry.dtype in _INDICES:
        return _index_port(state, entry, entry.shape)
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
            raise refuse(
                "broken-model",
                f"input {entry.name!r} is {entry.dtype}, its zero point {params.dtype}",
                entry.name,
                "export the model again",
            )
    elif entry.dtype == "bool":
        tensor = Tensor(name, layout.stored, DType.BOOL)
        state.tensors[name] = tensor
        state.values[entry.name] = Value(entry.shape, None, tensor, layout)
        return Port(name, entry.name, "bool", entry.shape, layout, None)
    else:
        raise refuse(
            "unsupported-type",
            f"input {entry.name!r} is {entry.dtype}",
            entry.name,
            "use a float32, int8, uint8 or bool input, int32 or int64 for indices",
        )
    quant = None if params is None else quant_of(params)
    tensor = Tensor(name, layout.stored, DType.INT8, quant)
    if entry.dtype == "uint8":
        tensor = _shift(state, name, layout, params, quant)
    state.tensors[tensor.name] = tensor
    known = params if params is not None or entry.dtype == "int8" else Params((1.0,), (0,), entry.dtype)
    state.values[entry.name] = Value(entry.shape, None, tensor, layout, known, real=entry.dtype == "float32")
    return Port(name, entry.name, entry.dtype, entry.shape, layout, params)


def _index_port(state: State, entry: FileInput, shape: tuple[int, ...]) -> Port:
    """Indices (tokens of a text): int32 for the caller, whatever the file says."""
    if entry.dtype != "int32":
        state.notes.append(f"input {entry.name!r} is {entry.dtype} in the file and int32 in C")
    tensor = Tensor(unique(state, entry.name), shape, DType.INT32)
    state.tensors[tensor.name] = tensor
    state.values[entry.name] = Value(shape, None, tensor, plain(shape))
    return Port(tensor.name, entry.name, entry.dtype, shape, plain(shape), None)


def _shift(state: State, name: str, layout: Layout, params: Params | None, quant: Quant | None) -> Tensor:
    """A uint8 input of the file stays uint8 for the caller; a node shifts it to the int8 inside."""
    from mcuc.ops.quantize import shift_uint8

    outer = None if params is None else Quant(params.scale, params.zero_point)
    state.tensors[name] = Tensor(name, layout.stored, DType.UINT8, outer)
    inner = Tensor(unique(state, f"{name}/int8"), layout.stored, DType.INT8, quant)
    state.nodes.append(Node(f"{name}/shift", "quantize", (name,), (inner.name,), shift_uint8()))
    return inner


def _input_layout(state: State, name: str, shape: tuple[int, ...]) -> Layout:
    """NHWC for rank 4, unless the file says NHWC by transposing first; NLC where 1D windows read rank 3."""
    seen, first = [name], list[FileNode]()
    while seen:
        for node, _ in state.consumers.get(seen.pop(), ()):
            if node.kind in ("QuantizeLinear", "DequantizeLinear", "Identity") and len(first) < 16:
                seen.extend(node.outputs)
            else:
                first.append(node)
    if len(shape) == 4:
        turned = first and all(n.kind == "Transpose" and tuple(n.attrs.get("perm", ())) == (0, 3, 1, 2) for n in first)
        return plain(shape) if turned else channels_last(shape)
    if len(shape) == 3 and first and all(n.kind in _WINDOWS for n in first):
        return channels_last(shape)
    return plain(shape)


def output_port(state: State, entry: FileInput, value: Value) -> Port:
    assert value.tensor is not None and value.layout is not None
    perm = stored_order(value)
    tensor = need(state, value, perm, f"output {entry.name!r}")
    layout = Layout(value.shape, perm)
    dtype = "float32" if value.real else dtype_here(value)
    if tensor.dtype is DType.INT32:
        dtype = entry.dtype if entry.dtype in _INDICES else "int32"
    shown = tensor.name
    if dtype == "uint8":
        from mcuc.ops.quantize import shift_uint8

        shown = unique(state, re.sub(r"[^\x20-\x7e]", "?", f"{entry.name}/uint8"))
        outer = None if value.params is None else Quant(value.params.scale, value.params.zero_point)
        state.tensors[shown] = Tensor(shown, tensor.shape, DType.UINT8, outer)
        state.nodes.append(Node(f"{shown}/shift", "quantize", (tensor.name,), (shown,), shift_uint8()))
    return Port(shown, entry.name, dtype, value.shape, layout, value.params)


def dtype_here(value: Value) -> str:
    if value.tensor is not None and value.tensor.dtype in (DType.BOOL, DType.INT32):
        return str(value.tensor.dtype.value)
    return value.params.dtype if value.params is not None else "int8"
