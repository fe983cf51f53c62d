"""TFLite files -> Graph. Reads the flatbuffer through the schema module of ai-edge-litert; nothing is executed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from mcuc import ops
from mcuc.errors import McucError
from mcuc.ir import Array, DType, Graph, Node, Quant, Tensor, check
from mcuc.ops._base import Imported

MAX_BYTES = 512 << 20
MAX_TENSORS = 20_000
MAX_ELEMENTS = 1 << 28

# TensorType of the schema -> our types; others are refused where a node touches them.
_DTYPES = {0: DType.FLOAT32, 2: DType.INT32, 3: DType.UINT8, 4: DType.INT64, 6: DType.BOOL, 7: DType.INT16, 9: DType.INT8}
_TYPE_NAMES = {1: "float16", 5: "string", 8: "complex64", 10: "float64", 13: "resource", 14: "variant", 17: "int4"}


def load(path: Path) -> Graph:
    """The graph of a .tflite file: uint8 shifted to int8, batch -1 read as 1, profile "tflite".

    Raises McucError: corrupt-model, unsupported-operator, not-quantized and what the operators raise.
    """
    return parse(path.read_bytes(), str(path), path.stem)


def parse(raw: bytes, where: str, name: str) -> Graph:
    """As load, from bytes; where names the file in messages, name the graph."""
    model = _unpack(raw, where)
    if not model.subgraphs:
        raise _corrupt(where, "the file holds no subgraph")
    subgraph = model.subgraphs[0]
    notes = []
    if len(model.subgraphs) > 1:
        notes.append(f"{len(model.subgraphs)} subgraphs found, the first one is compiled")
    if len(model.signatureDefs or ()) > 1:
        notes.append(f"{len(model.signatureDefs)} signatures found, the first subgraph is compiled")
    try:
        return _graph(model, subgraph, raw, where, name, notes)
    except (IndexError, TypeError, ValueError, AttributeError, OverflowError, KeyError) as error:
        raise _corrupt(where, f"the model's tables do not fit together ({error})") from error


def _corrupt(where: str, found: str) -> McucError:
    return McucError("corrupt-model", found, where=where, try_this="export the model again; check that the download is complete")


def _unpack(raw: bytes, where: str) -> Any:
    if len(raw) < 16 or raw[4:8] != b"TFL3":
        raise _corrupt(where, f"not a TFLite file ({len(raw)} bytes, identifier {raw[4:8]!r}, expected b'TFL3')")
    if len(raw) > MAX_BYTES:
        raise _corrupt(where, f"the file has {len(raw)} bytes, more than {MAX_BYTES}")
    from ai_edge_litert import schema_py_generated as schema

    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(raw, 0))
    except Exception as error:  # a hostile buffer can fail anywhere inside the flatbuffer reader
        raise _corrupt(where, f"the flatbuffer is damaged ({type(error).__name__})") from error


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _graph(model: Any, subgraph: Any, raw: bytes, where: str, name: str, notes: list[str]) -> Graph:
    if len(subgraph.tensors or ()) > MAX_TENSORS or len(subgraph.operators or ()) > MAX_TENSORS:
        raise _corrupt(where, f"{len(subgraph.tensors)} tensors, more than {MAX_TENSORS}")
    names = _unique_names([_text(t.name) for t in subgraph.tensors or ()])
    inputs = [int(i) for i in subgraph.inputs]
    outputs = [int(i) for i in subgraph.outputs]
    if any(not 0 <= i < len(names) for i in (*inputs, *outputs)) or not inputs or not outputs:
        raise _corrupt(where, "the graph's inputs or outputs are missing or out of range")
    tensors: dict[int, Tensor] = {}
    unsigned: set[int] = set()
    batch_free = False

    def tensor(index: int, operator: str) -> Tensor:
        if not 0 <= index < len(names):
            raise _corrupt(operator, f"tensor index {index} is out of range")
        if index not in tensors:
            tensors[index], was_unsigned = _tensor(model, subgraph.tensors[index], names[index], raw, operator)
            if was_unsigned:
                unsigned.add(index)
        return tensors[index]

    nodes: list[Node] = []
    constants: dict[str, Tensor] = {}
    for i in inputs:
        signature = subgraph.tensors[i].shapeSignature
        batch_free = batch_free or (signature is not None and len(signature) > 0 and int(signature[0]) == -1)
        tensor(i, where)
    for position, operator in enumerate(subgraph.operators or ()):
        kind, options = _kind(model, operator, where)
        place = f"{kind} #{position}"
        node_inputs = tuple(None if i == -1 else tensor(int(i), place) for i in _indices(operator.inputs))
        node_outputs = tuple(tensor(int(i), place) for i in _indices(operator.outputs))
        if node_outputs:
            place = f"{kind} #{position}, output tensor {node_outputs[0].name!r}"
        is_unsigned = any(int(i) in unsigned for i in (*_indices(operator.inputs), *_indices(operator.outputs)))
        imported = Imported(kind, options, node_inputs, node_outputs, place, is_unsigned)
        built = ops.find_tflite(kind, place).from_tflite(imported)  # type: ignore[misc]
        constants.update((t.name, t) for t in built.constants)
        nodes.append(Node(f"{position}:{kind}", built.op, built.inputs, tuple(t.name for t in node_outputs), built.attrs))
    table = {t.name: t for t in tensors.values()}
    table.update(constants)
    if batch_free:
        notes.append("batch -1 in the file is read as 1")
    graph_inputs, head = _boundary(table, [names[i] for i in inputs], {names[i] for i in unsigned}, "input")
    graph_outputs, tail = _boundary(table, [names[i] for i in outputs], {names[i] for i in unsigned}, "output")
    used = {n for node in (*head, *nodes, *tail) for n in (*node.inputs, *node.outputs) if n}
    used |= {*graph_inputs, *graph_outputs}
    return check(Graph(name, "tflite", {k: v for k, v in table.items() if k in used}, (*head, *nodes, *tail),
                       tuple(graph_inputs), tuple(graph_outputs), tuple(notes)))


def _boundary(table: dict[str, Tensor], names: list[str], unsigned: set[str], side: str) -> tuple[list[str], list[Node]]:
    """uint8 inputs and outputs stay uint8 for the caller: a shift node stands between them and the int8 inside."""
    from mcuc.ops.quantize import shift_uint8

    found, nodes = [], []
    for name in names:
        if name not in unsigned or table[name].data is not None:
            found.append(name)
            continue
        inner = table[name]
        assert inner.quant is not None
        outer_quant = Quant(inner.quant.scale, tuple(z + 128 for z in inner.quant.zero_point))
        outer = Tensor(f"{name}/uint8", inner.shape, DType.UINT8, outer_quant)
        table[outer.name] = outer
        ends = (outer.name, name) if side == "input" else (name, outer.name)
        nodes.append(Node(f"{name}/shift", "quantize", (ends[0],), (ends[1],), shift_uint8()))
        found.append(outer.name)
    return found, nodes


def _indices(vector: Any) -> list[int]:
    return [] if vector is None else [int(i) for i in vector]


def _unique_names(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    unique = []
    for position, name in enumerate(names):
        clean = re.sub(r"[^\x20-\x7e]", "?", name)[:200] or f"tensor_{position}"
        if clean in seen:
            clean = f"{clean}#{position}"
        seen[clean] = position
        unique.append(clean)
    return unique


def _kind(model: Any, operator: Any, where: str) -> tuple[str, Any]:
    from ai_edge_litert import schema_py_generated as schema

    index = int(operator.opcodeIndex)
    if not 0 <= index < len(model.operatorCodes or ()):
        raise _corrupt(where, f"operator code {index} is out of range")
    code = model.operatorCodes[index]
    number = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
    if number == schema.BuiltinOperator.CUSTOM:
        return f"CUSTOM({_text(code.customCode)[:60]})", None
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    kind = names.get(number, f"BUILTIN_{number}")
    return kind, operator.builtinOptions if operator.builtinOptions is not None else operator.builtinOptions2


def _tensor(model: Any, entry: Any, name: str, raw: bytes, where: str) -> tuple[Tensor, bool]:
    """The tensor as int8 where the file says uint8, and whether it was uint8."""
    if entry.type not in _DTYPES:
        kind = _TYPE_NAMES.get(entry.type, f"type {entry.type}")
        raise McucError("unsupported-type", f"tensor {name!r} is {kind}", where=where,
                        try_this="convert with full integer quantization to int8")
    if entry.sparsity is not None:
        raise McucError("unsupported-sparse", f"tensor {name!r} is stored sparse", where=where,
                        try_this="export the model with dense weights")
    dtype = _DTYPES[entry.type]
    shape = tuple(1 if int(d) == -1 else int(d) for d in ([] if entry.shape is None else entry.shape))
    if any(d < 0 for d in shape) or int(np.prod(shape, dtype=np.float64)) > MAX_ELEMENTS:
        raise _corrupt(where, f"tensor {name!r} has shape {shape}")
    quant = _quant(entry.quantization, name, where)
    data = _data(model, entry, shape, dtype, name, raw, where)
    unsigned = dtype is DType.UINT8 and quant is not None
    if unsigned:
        assert quant is not None
        dtype, quant = DType.INT8, Quant(quant.scale, tuple(z - 128 for z in quant.zero_point), quant.axis)
        data = None if data is None else (data ^ 0x80).view(np.int8)
    return Tensor(name, shape, dtype, quant, data), unsigned


def _quant(entry: Any, name: str, where: str) -> Quant | None:
    if entry is None or entry.scale is None or len(entry.scale) == 0:
        return None
    scale = tuple(float(s) for s in entry.scale)
    zero = tuple(int(z) for z in entry.zeroPoint) if entry.zeroPoint is not None and len(entry.zeroPoint) else (0,)
    if any(not (0.0 < s < float("inf")) for s in scale):
        if scale == (0.0,):
            return None
        raise _corrupt(where, f"tensor {name!r} has a scale that is not positive and finite")
    if len(zero) not in (1, len(scale)):
        raise _corrupt(where, f"tensor {name!r} has {len(scale)} scales and {len(zero)} zero points")
    if any(not -128 <= z <= 255 for z in zero):
        raise _corrupt(where, f"tensor {name!r} has zero point {max(zero, key=abs)}, outside its type")
    if len(set(zero)) == 1:
        zero = zero[:1]
    return Quant(scale, zero, int(entry.quantizedDimension) if len(scale) > 1 else None)


def _data(model: Any, entry: Any, shape: tuple[int, ...], dtype: DType, name: str, raw: bytes, where: str) -> Array | None:
    index = int(entry.buffer)
    if not 0 <= index < len(model.buffers or ()):
        raise _corrupt(where, f"tensor {name!r} names buffer {index}, which does not exist")
    buffer = model.buffers[index]
    blob: bytes
    if buffer.data is not None and len(buffer.data):
        blob = np.asarray(buffer.data, np.uint8).tobytes()
    elif int(buffer.offset or 0) > 1 and int(buffer.size or 0) > 0:  # data behind the flatbuffer (large models)
        start, size = int(buffer.offset), int(buffer.size)
        if start + size > len(raw):
            raise _corrupt(where, f"tensor {name!r} lies behind the end of the file")
        blob = raw[start:start + size]
    else:
        return None
    wanted = int(np.prod(shape, dtype=np.int64)) * dtype.bytes
    if len(blob) < wanted:
        raise _corrupt(where, f"tensor {name!r} needs {wanted} bytes, its buffer has {len(blob)}")
    return np.frombuffer(blob[:wanted], np.dtype(dtype.value).newbyteorder("<")).astype(dtype.value).reshape(shape)
