"""Reading the protobuf of an .onnx file: limits, attributes, constants (external data beside the model only)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array

MAX_BYTES = 512 << 20
MAX_NODES = 20_000
MAX_ELEMENTS = 1 << 28
# What reading parts that do not fit together can raise; the file is at fault.
_MISFITS = (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError)  # UnicodeError is a ValueError
OLDEST_OPSET = 13  # that is read as it is
UPGRADED_OPSET = 17  # what older ones are brought to

# TensorProto.DataType -> NumPy name; the types that a quantized network and its shape arithmetic use.
DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    11: "float64",
}
_OTHER = {
    8: "string",
    10: "float16",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8e4m3fn",
    18: "float8e4m3fnuz",
    19: "float8e5m2",
    20: "float8e5m2fnuz",
    21: "uint4",
    22: "int4",
}
_DOMAINS = {"": "", "ai.onnx": "", "com.microsoft": "com.microsoft"}


@dataclass(frozen=True, eq=False)
class FileNode:
    """A node of the file. attrs: plain Python values and NumPy arrays; where: how messages name it."""

    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    where: str


@dataclass(frozen=True)
class FileInput:
    """A graph input or output of the file: shape with the batch already 1, None where the file gives no shape."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    batch_free: bool = False


@dataclass(frozen=True, eq=False)
class FileGraph:
    """The file's graph, nodes in execution order."""

    nodes: tuple[FileNode, ...]
    initializers: Mapping[str, Array]
    inputs: tuple[FileInput, ...]
    outputs: tuple[FileInput, ...]
    opset: int


def corrupt(where: str, found: str) -> McucError:
    return McucError(
        "corrupt-model", found, where=where, try_this="export the model again; check that the download is complete"
    )


def read(raw: bytes, where: str, folder: Path | None) -> FileGraph:
    """Parses and checks the file. folder: where external data may lie; None refuses external data.

    Raises McucError: corrupt-model, unsupported-opset, unsupported-type, unsupported-operator, dynamic-shape.
    """
    model = parsed(raw, where)
    if _opset(model) < OLDEST_OPSET:
        model = _upgraded(raw, _opset(model), where)
    graph = model.graph
    try:
        opset = _opset(model)
        initializers = {t.name: array(t, where, folder) for t in graph.initializer}
        nodes = tuple(_node(n, i, where, folder) for i, n in enumerate(graph.node))
        inputs = tuple(_value_info(v, where) for v in graph.input if v.name not in initializers)
        outputs = tuple(_value_info(v, where, is_output=True) for v in graph.output)
    except McucError:
        raise
    except _MISFITS as error:
        raise corrupt(where, f"the model's parts do not fit together ({error})") from error
    if not inputs or not outputs:
        raise corrupt(where, "the graph has no inputs or no outputs")
    return FileGraph(
        _sorted(nodes, {*initializers, *(i.name for i in inputs)}, where), initializers, inputs, outputs, opset
    )


def read_float(raw: bytes, where: str, folder: Path | None) -> Any:
    """The ModelProto of a file of any opset and with free dimensions, its constants checked and inside it.

    Raises McucError: corrupt-model, unsupported-sparse, external-data.
    """
    from onnx import TensorProto, numpy_helper

    model = parsed(raw, where)
    try:
        for constant in model.graph.initializer:
            data = array(constant, where, folder)
            if constant.data_location == TensorProto.EXTERNAL:
                constant.CopyFrom(numpy_helper.from_array(data, constant.name))
    except _MISFITS as error:
        raise corrupt(where, f"the model's parts do not fit together ({error})") from error
    constants = {constant.name for constant in model.graph.initializer}
    if all(entry.name in constants for entry in model.graph.input) or not model.graph.output:
        raise corrupt(where, "the graph has no inputs or no outputs")
    return model


def parsed(raw: bytes, where: str) -> Any:
    """The ModelProto of a file, within bounds. Raises McucError: corrupt-model, unsupported-sparse."""
    import onnx

    if not raw or len(raw) > MAX_BYTES:
        raise corrupt(where, f"the file has {len(raw)} bytes; 1 to {MAX_BYTES} are accepted")
    try:
        model = onnx.ModelProto.FromString(raw)
    except Exception as error:  # whatever the protobuf parser raises
        raise corrupt(where, f"not an ONNX file ({type(error).__name__})") from error
    graph = model.graph
    if not graph.node and not graph.output:
        raise corrupt(where, "the file holds no ONNX graph")
    if len(graph.node) > MAX_NODES or len(graph.initializer) > MAX_NODES:
        raise corrupt(where, f"{len(graph.node)} nodes and {len(graph.initializer)} constants, more than {MAX_NODES}")
    if graph.sparse_initializer:
        raise McucError(
            "unsupported-sparse",
            "the model stores sparse constants",
            where=where,
            try_this="export the model with dense weights",
        )
    return model


def _opset(model: Any) -> int:
    found = {entry.domain: int(entry.version) for entry in model.opset_import}
    return found.get("", found.get("ai.onnx", 0))


def _upgraded(raw: bytes, opset: int, where: str) -> Any:
    """The model of an older opset in a newer one; the converter runs in a child process, since hostile files crash it.

    Raises McucError("unsupported-opset") where it cannot convert the model.
    """
    from mcuc.quantize.runtime import Runtime

    try:
        with Runtime(where) as runtime:
            return parsed(runtime.upgraded(raw, UPGRADED_OPSET), where)
    except McucError as error:
        raise McucError(
            "unsupported-opset",
            f"the model uses opset {opset}, and ONNX's version converter cannot bring it to {UPGRADED_OPSET} "
            f"({error.found})",
            where=where,
            try_this=f"export the model with opset {OLDEST_OPSET} or newer",
        ) from error


def array(proto: Any, where: str, folder: Path | None) -> Array:
    """A TensorProto as an array. Raises McucError for types, sizes and places that are not accepted."""
    from onnx import numpy_helper

    shape = tuple(int(d) for d in proto.dims)
    if any(d < 0 for d in shape) or prod(shape) > MAX_ELEMENTS:
        raise corrupt(where, f"constant {proto.name!r} has shape {shape}")
    if proto.data_type not in DTYPES:
        kind = _OTHER.get(proto.data_type, f"type {proto.data_type}")
        raise McucError(
            "unsupported-type",
            f"constant {proto.name!r} is {kind}",
            where=where,
            try_this="quantize the model to int8 or uint8 (onnxruntime.quantization.quantize_static)",
        )
    dtype = np.dtype(DTYPES[proto.data_type])
    if proto.data_location == 1 or proto.external_data:
        return _external(proto, shape, dtype, where, folder)
    size = len(proto.raw_data) if proto.HasField("raw_data") else None
    if size is not None and size != prod(shape) * dtype.itemsize:
        raise corrupt(where, f"constant {proto.name!r} of shape {shape} has {size} bytes of data")
    return np.asarray(numpy_helper.to_array(proto), dtype).reshape(shape)


def _external(proto: Any, shape: tuple[int, ...], dtype: np.dtype[Any], where: str, folder: Path | None) -> Array:
    fields = {e.key: e.value for e in proto.external_data}
    location, offset, length = fields.get("location", ""), int(fields.get("offset", "0")), prod(shape) * dtype.itemsize
    if folder is None or not location:
        raise McucError(
            "external-data",
            f"constant {proto.name!r} lies in the file {location!r} beside the model",
            where=where,
            try_this="save the model as one file: onnx.save(model, path, save_as_external_data=False)",
        )
    root = folder.resolve()
    path = (root / location).resolve()
    if not path.is_relative_to(root) or path == root:
        raise McucError(
            "external-data",
            f"constant {proto.name!r} points outside the model's folder: {location!r}",
            where=where,
            try_this="use only model files whose data lies beside them",
        )
    if offset < 0 or not path.is_file() or path.stat().st_size < offset + length:
        raise corrupt(
            where,
            f"constant {proto.name!r} needs {length} bytes at {offset} of {location!r}, which is missing or short",
        )
    with path.open("rb") as stream:
        stream.seek(offset)
        return np.frombuffer(stream.read(length), dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _node(proto: Any, position: int, where: str, folder: Path | None) -> FileNode:
    kind = str(proto.op_type)
    label = re.sub(r"[^\x20-\x7e]", "?", proto.name)[:120]
    place = f"{kind} #{position}" + (f" ({label})" if label else "")
    if proto.domain not in _DOMAINS:
        raise McucError(
            "unsupported-operator",
            f"operator {kind} of domain {proto.domain[:80]!r} is not supported",
            where=place,
            try_this="export the model with standard ONNX operators; see `mcuc ops`",
        )
    attrs = {a.name: _attribute(a, place, folder) for a in proto.attribute}
    return FileNode(kind, _DOMAINS[proto.domain], tuple(proto.input), tuple(proto.output), attrs, place)


def _attribute(proto: Any, where: str, folder: Path | None) -> Any:
    match proto.type:
        case 1:
            return float(proto.f)
        case 2:
            return int(proto.i)
        case 3:
            return proto.s.decode("utf-8", "replace")
        case 4:
            return array(proto.t, where, folder)
        case 6:
            return tuple(float(v) for v in proto.floats)
        case 7:
            return tuple(int(v) for v in proto.ints)
        case 8:
            return tuple(v.decode("utf-8", "replace") for v in proto.strings)
    raise McucError(
        "unsupported-operator",
        f"attribute {proto.name!r} holds a subgraph or an unknown type",
        where=where,
        try_this="export the model without If, Loop and Scan",
    )


def _value_info(proto: Any, where: str, is_output: bool = False) -> FileInput:
    tensor = proto.type.tensor_type
    if not proto.type.HasField("tensor_type"):
        if is_output:
            return FileInput(proto.name, "", None)
        raise McucError(
            "unsupported-type",
            f"input {proto.name!r} is not a tensor",
            where=where,
            try_this="export the model with tensors as inputs",
        )
    dtype = DTYPES.get(tensor.elem_type, _OTHER.get(tensor.elem_type, f"type {tensor.elem_type}"))
    if is_output or not tensor.HasField("shape"):
        if is_output:
            return FileInput(proto.name, dtype, None)
        raise McucError(
            "dynamic-shape",
            f"input {proto.name!r} has no shape",
            where=where,
            try_this="export the model with fixed input shapes",
        )
    shape, batch_free = [], False
    for position, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            shape.append(int(dim.dim_value))
        elif position == 0 and (not dim.HasField("dim_value") or dim.dim_value == -1):
            shape.append(1)
            batch_free = True
        else:
            label = dim.dim_param if dim.HasField("dim_param") else dim.dim_value
            raise McucError(
                "dynamic-shape",
                f"dimension {position} of input {proto.name!r} is free ({str(label)[:60]!r})",
                where=where,
                try_this="fix it: python -m onnxruntime.tools.make_dynamic_shape_fixed "
                f"--input_name {proto.name} --input_shape ... model.onnx fixed.onnx",
            )
    if prod(shape) > MAX_ELEMENTS:
        raise corrupt(where, f"input {proto.name!r} has shape {tuple(shape)}")
    return FileInput(proto.name, dtype, tuple(shape), batch_free)


def _sorted(nodes: Sequence[FileNode], known: set[str], where: str) -> tuple[FileNode, ...]:
    """The nodes in execution order; refuses cycles, missing constants and values that are written twice."""
    produced: dict[str, int] = {}
    for position, node in enumerate(nodes):
        for name in node.outputs:
            if name and (name in produced or name in known):
                raise corrupt(node.where, f"value {name!r} is written twice")
            if name:
                produced[name] = position
    readers: dict[int, list[int]] = {}
    waiting = []
    for position, node in enumerate(nodes):
        needs = set()
        for name in node.inputs:
            if name and name not in known:
                if name not in produced:
                    raise corrupt(
                        node.where, f"{node.kind} reads {name!r}, which nothing computes (a missing initializer?)"
                    )
                needs.add(produced[name])
        waiting.append(len(needs))
        for source in needs:
            readers.setdefault(source, []).append(position)
    import heapq

    ready = [i for i, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        position = heapq.heappop(ready)
        order.append(nodes[position])
        for reader in readers.get(position, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        raise corrupt(where, f"{len(nodes) - len(order)} nodes depend on each other in a circle")
    return tuple(order)
