"""TFLite files -> Graph. Nothing of the file is executed; every kind of damage ends in a McucError."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np

from mcuc import ops
from mcuc.errors import McucError
from mcuc.importers import _tflite_state as state
from mcuc.importers._flatbuffer import ModelFile, OperatorEntry, TensorEntry, corrupt, read
from mcuc.ir import Array, DType, Graph, Node, Quant, Tensor, check
from mcuc.numerics import FactorTooLarge
from mcuc.ops._base import Imported, Operator
from mcuc.ops.integer_math import KINDS as INTEGER_KINDS

MAX_ELEMENTS = 1 << 28

# TensorType of the schema -> our types; others are refused where a node touches them.
_DTYPES = {0: DType.FLOAT32, 2: DType.INT32, 3: DType.UINT8, 4: DType.INT64, 6: DType.BOOL, 7: DType.INT16,
           9: DType.INT8}
_FLOAT32, _INT8, _INT4 = 0, 9, 17
_TYPE_NAMES = {1: "float16", 5: "string", 8: "complex64", 10: "float64", 11: "complex128", 12: "uint64", 13: "resource",
               14: "variant", 15: "uint32", 16: "uint16", 17: "int4", 18: "bfloat16"}
_CONTROL = {"WHILE", "IF", "CALL"}
_RECURRENT = {"LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
              "UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF"}
# What reading tables that do not fit together can raise; the file is at fault.
_MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NotImplementedError,
            RecursionError, TypeError, ValueError, struct.error)


@dataclass
class _Reading:
    """What grows while the operators are read in file order."""

    file: ModelFile
    where: str
    names: list[str]
    tensors: dict[int, Tensor] = field(default_factory=dict)
    unsigned: set[int] = field(default_factory=set)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    states: state.States = field(default_factory=state.States)
    constant_bytes: int = 0
    hybrid: bool = field(init=False)

    def __post_init__(self) -> None:
        self.hybrid = _is_hybrid(self.file)


def _is_hybrid(file: ModelFile) -> bool:
    """Whether a layer reads float values and constant int8 weights: a dynamic-range model."""
    count = len(file.tensors)
    for entry in file.operators:
        read = [file.tensors[i] for i in entry.inputs if 0 <= i < count]
        if len(read) > 1 and read[0].type == _FLOAT32 and any(t.type == _INT8 and len(t.scale) for t in read[1:]):
            return True
    return False


def load(path: Path) -> Graph:
    """The graph of a .tflite file: uint8 shifted to int8, batch -1 read as 1, profile "tflite".

    Raises McucError: unreadable-file, corrupt-model, unsupported-operator, not-quantized and what the operators raise.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise McucError("unreadable-file", f"cannot read the model ({error.strerror or error})", where=str(path),
                        try_this="check the path and its permissions") from error
    return parse(raw, str(path), path.stem)


def parse(raw: bytes, where: str, name: str) -> Graph:
    """As load, from bytes; where names the file in messages, name the graph."""
    file = read(raw, where)
    try:
        return _graph(file, where, name)
    except _MISFITS as error:
        raise corrupt(where, f"the model's tables do not fit together ({type(error).__name__}: {error})") from error


def _graph(file: ModelFile, where: str, name: str) -> Graph:
    ends = (*file.inputs, *file.outputs)
    if not file.inputs or not file.outputs or any(not 0 <= i < len(file.tensors) for i in ends):
        raise corrupt(where, "the graph's inputs or outputs are missing or out of range")
    if len(set(file.inputs)) < len(file.inputs) or len(set(file.outputs)) < len(file.outputs):
        raise corrupt(where, "one tensor is listed twice among the graph's inputs or outputs")
    reading = _Reading(file, where, _unique_names([t.name for t in file.tensors]))
    reading.notes.extend(_file_notes(file))
    for index in file.inputs:
        _tensor_at(reading, index, where)
    for position, operator in enumerate(file.operators):
        _node(reading, position, operator)
    for index in file.outputs:
        _tensor_at(reading, index, where)
    assigns, states = state.finish(reading.states, reading.nodes, where)
    table = {t.name: t for t in reading.tensors.values()} | reading.constants | reading.states.made
    if any(n in reading.states.tensors for n in (reading.names[i] for i in ends)):
        raise corrupt(where, "a graph input or output is a variable")
    unsigned = {reading.names[i] for i in reading.unsigned}
    inputs, head = _boundary(table, [reading.names[i] for i in file.inputs], unsigned, "input")
    outputs, tail = _boundary(table, [reading.names[i] for i in file.outputs], unsigned, "output")
    if any(table[n].data is not None for n in inputs):
        raise corrupt(where, "a graph input is a constant")
    nodes = (*head, *reading.nodes, *tail, *assigns)
    used = {n for node in nodes for n in (*node.inputs, *node.outputs) if n} | {*inputs, *outputs}
    return check(Graph(name, "tflite", {k: v for k, v in table.items() if k in used}, nodes, tuple(inputs),
                       tuple(outputs), tuple(reading.notes), states=states))


def _file_notes(file: ModelFile) -> list[str]:
    notes = []
    once = {getattr(o.options, "initSubgraphIndex", 0) for o in file.operators if o.kind == "CALL_ONCE"}
    if file.subgraphs - len(once) > 1:
        notes.append(f"{file.subgraphs} subgraphs found, the first one is compiled")
    if file.signatures > 1:
        notes.append(f"{file.signatures} signatures found, the first subgraph is compiled")
    if any(-1 in file.tensors[i].signature[:1] for i in file.inputs):
        notes.append("batch -1 in the file is read as 1")
    return notes


def _node(reading: _Reading, position: int, entry: OperatorEntry) -> None:
    """Reads one operator: its tensors, the operator's own import, and a check of the shapes that the file declares."""
    place = f"{entry.kind} #{position}"
    _refuse_control(entry, place)
    if entry.kind in state.KINDS:
        _variable(reading, position, entry, place)
        return
    if entry.kind not in INTEGER_KINDS:
        ops.find_tflite(entry.kind, place)  # an unknown operator is refused before its tensors are looked at
    inputs = tuple(None if i == -1 else _tensor_at(reading, i, place) for i in entry.inputs)
    outputs = tuple(_tensor_at(reading, i, place) for i in entry.outputs)
    if not outputs:
        raise corrupt(place, f"{entry.kind} has no output")
    place = f"{place}, output tensor {outputs[0].name!r}"
    wide = ops.is_wide(inputs, outputs)
    integers = _is_integer_math(entry.kind, inputs)
    operator = ops.get("integer_math") if integers else ops.find_tflite(entry.kind, place, wide)
    assert operator.from_tflite is not None
    unsigned = any(i in reading.unsigned for i in (*entry.inputs, *entry.outputs))
    try:
        built = operator.from_tflite(
            Imported(entry.kind, entry.options, inputs, outputs, place, unsigned, hybrid=reading.hybrid)
        )
    except FactorTooLarge as error:
        raise replace(error, where=place) from error
    reading.constants.update((t.name, t) for t in built.constants)
    reading.notes.extend(built.notes)
    kept = tuple(state.update(reading.states, t, place) for n in built.states for t in inputs if t and t.name == n)
    if any(t is not None and t.name in reading.states.tensors and t.name not in built.states for t in inputs):
        raise McucError("unsupported-state", f"{entry.kind} reads a variable that it does not update", where=place,
                        try_this="export a model without this variable")
    outputs = (*outputs, *kept)
    node = Node(f"{position}:{entry.kind}", built.op, built.inputs, tuple(t.name for t in outputs), built.attrs)
    by_name = {t.name: t for t in inputs if t is not None} | {t.name: t for t in built.constants}
    _check_shapes(ops.get(built.op), node, [by_name[n] for n in built.inputs if n], outputs, place)
    reading.nodes.append(node)


def _refuse_control(entry: OperatorEntry, place: str) -> None:
    if entry.kind in _CONTROL:
        raise McucError("unsupported-operator", f"TFLite operator {entry.kind} is control flow, which is not supported",
                        where=place, try_this="unroll the loop before converting: recurrent Keras layers (GRU, LSTM, "
                        "SimpleRNN) with unroll=True, or a layer that converts to UNIDIRECTIONAL_SEQUENCE_LSTM")
    if entry.kind in _RECURRENT and entry.kind not in ops._tflite_table():
        raise McucError("unsupported-operator", f"TFLite operator {entry.kind} is not supported", where=place,
                        try_this="use UNIDIRECTIONAL_SEQUENCE_LSTM or SVDF in int8, or unroll the layer (unroll=True)")


def _variable(reading: _Reading, position: int, entry: OperatorEntry, place: str) -> None:
    """An operator on variables; see _tflite_state."""
    if entry.kind == "VAR_HANDLE":
        state.handle(reading.states, entry, reading.file.tensors, place)
    elif entry.kind == "CALL_ONCE":
        _call_once(reading, entry, place)
    elif entry.kind == "READ_VARIABLE":
        variable = state.variable_of(reading.states, entry, 1, place)
        if len(entry.outputs) != 1:
            raise corrupt(place, "READ_VARIABLE has other than one output")
        out = _tensor_at(reading, entry.outputs[0], place)
        unsigned = entry.outputs[0] in reading.unsigned
        reading.nodes.append(state.read(reading.states, variable, out, unsigned, position, place))
    else:
        variable = state.variable_of(reading.states, entry, 2, place)
        value = _tensor_at(reading, entry.inputs[1], place)
        state.assign(variable, value, entry.inputs[1] in reading.unsigned, place)


def _call_once(reading: _Reading, entry: OperatorEntry, place: str) -> None:
    """Variables get their first values from a subgraph of VAR_HANDLE and ASSIGN_VARIABLE with constants."""
    index = int(getattr(entry.options, "initSubgraphIndex", 0))
    if index in reading.states.once:
        return
    reading.states.once.add(index)
    tensors, operators = reading.file.subgraph(index)
    names = _unique_names([t.name for t in tensors])
    part = _Reading(replace(reading.file, tensors=tensors), place, names, constant_bytes=reading.constant_bytes)
    part.states.variables = reading.states.variables
    for inner in operators:
        if inner.kind == "VAR_HANDLE":
            state.handle(part.states, inner, tensors, place)
        elif inner.kind == "ASSIGN_VARIABLE":
            variable = state.variable_of(part.states, inner, 2, place)
            value = _tensor_at(part, inner.inputs[1], place)
            state.initialise(variable, value, inner.inputs[1] in part.unsigned, place)
        else:
            raise McucError("unsupported-state", f"variables are initialised by {inner.kind}", where=place,
                            try_this="initialise variables with constants")
    reading.constant_bytes = part.constant_bytes


def _is_integer_math(kind: str, inputs: tuple[Tensor | None, ...]) -> bool:
    return kind in INTEGER_KINDS and all(t is not None and t.dtype in (DType.INT32, DType.INT64) for t in inputs)


def _check_shapes(operator: Operator, node: Node, inputs: list[Tensor], outputs: tuple[Tensor, ...],
                  place: str) -> None:
    """The declared output shapes are what the operator computes; a dense layer may keep leading axes."""
    shapes = operator.infer(node.attrs, inputs)
    for shape, out in zip(shapes, outputs, strict=True):
        dense = node.op == "fully_connected" and (prod(shape), shape[-1:]) == (out.elements, out.shape[-1:])
        if tuple(shape) != out.shape and not dense:
            raise McucError("broken-model", f"{node.op} computes shape {tuple(shape)}, the file declares {out.shape}",
                            where=place, try_this="export the model with batch size 1; check that the file is complete")


def _boundary(table: dict[str, Tensor], names: list[str], unsigned: set[str],
              side: str) -> tuple[list[str], list[Node]]:
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


def _unique_names(names: list[str]) -> list[str]:
    taken: set[str] = set()
    unique = []
    for position, name in enumerate(names):
        candidate = name or f"tensor_{position}"
        while candidate in taken:
            candidate = f"{candidate}#{position}"
        taken.add(candidate)
        unique.append(candidate)
    return unique


def _tensor_at(reading: _Reading, index: int, place: str) -> Tensor:
    """The tensor of that index, as int8 where the file says uint8."""
    if not 0 <= index < len(reading.names):
        raise corrupt(place, f"tensor index {index} is out of range")
    if index not in reading.tensors:
        entry, name = reading.file.tensors[index], reading.names[index]
        tensor = _tensor(reading, entry, name, place)
        if tensor.dtype is DType.UINT8 and tensor.quant is not None:
            reading.unsigned.add(index)
            tensor = _shifted(tensor, tensor.quant)
        reading.tensors[index] = tensor
    return reading.tensors[index]


def _shifted(tensor: Tensor, quant: Quant) -> Tensor:
    data = None if tensor.data is None else (tensor.data ^ 0x80).view(np.int8)
    shifted = Quant(quant.scale, tuple(z - 128 for z in quant.zero_point), quant.axis)
    return Tensor(tensor.name, tensor.shape, DType.INT8, shifted, data)


def _tensor(reading: _Reading, entry: TensorEntry, name: str, where: str) -> Tensor:
    if entry.type == _INT4:
        return _four_bits(reading, entry, name, where)
    if entry.type not in _DTYPES:
        kind = _TYPE_NAMES.get(entry.type, f"type {entry.type}")
        raise McucError("unsupported-type", f"tensor {name!r} is {kind}", where=where,
                        try_this="convert with full integer quantization to int8, without state")
    if entry.sparse:
        raise McucError("unsupported-sparse", f"tensor {name!r} is stored sparse", where=where,
                        try_this="export the model with dense weights")
    dtype = _DTYPES[entry.type]
    shape = tuple(1 if d == -1 else d for d in entry.shape)
    if any(d < 0 for d in shape) or prod(shape) > MAX_ELEMENTS:
        raise corrupt(where, f"tensor {name!r} has shape {shape}")
    quant = _quant(entry, dtype, name, where)
    data = _data(reading, entry, shape, dtype, name, where)
    if entry.variable:
        if data is not None or not prod(shape):
            raise corrupt(where, f"variable {name!r} of shape {shape} is empty or a constant")
        reading.states.tensors.setdefault(name, None)
    if data is None and prod(shape) == 0:
        raise corrupt(where, f"tensor {name!r} of shape {shape} is empty")
    if quant is not None and quant.axis is not None and (
            not 0 <= quant.axis < len(shape) or shape[quant.axis] != len(quant.scale)):
        raise corrupt(where, f"tensor {name!r} of shape {shape} has {len(quant.scale)} scales along axis {quant.axis}")
    return Tensor(name, shape, dtype, quant, data)


def _four_bits(reading: _Reading, entry: TensorEntry, name: str, where: str) -> Tensor:
    """A constant of two elements a byte, the lower half first, as int8. Raises McucError for a run-time value."""
    shape = tuple(entry.shape)
    packed = replace(entry, type=_INT8, shape=(-(-prod(shape) // 2),), scale=entry.scale[:0])
    if any(d < 0 for d in shape) or prod(shape) > MAX_ELEMENTS or entry.sparse or entry.variable:
        raise corrupt(where, f"int4 tensor {name!r} has shape {shape}, is sparse or a variable")
    data = _tensor(reading, packed, name, where).data
    if data is None:
        raise McucError("unsupported-type", f"tensor {name!r} of type int4 is computed at run time", where=where,
                        try_this="use int4 for constant weights only")
    blob = reading.file.buffer(entry.buffer)
    if blob is not None and len(blob) != data.size:  # perhaps an element a byte, as some early files had them
        raise corrupt(where, f"int4 tensor {name!r} needs {data.size} bytes, its buffer has {len(blob)}")
    quant = _quant(entry, DType.INT8, name, where)
    if quant is not None and quant.axis is not None and (
            not 0 <= quant.axis < len(shape) or shape[quant.axis] != len(quant.scale)):
        raise corrupt(where, f"tensor {name!r} of shape {shape} has {len(quant.scale)} scales along axis {quant.axis}")
    halves = np.stack([(data << 4).view(np.int8) >> 4, data >> 4], axis=-1)
    return Tensor(name, shape, DType.INT8, quant, halves.reshape(-1)[: prod(shape)].reshape(shape), int4=True)


def _quant(entry: TensorEntry, dtype: DType, name: str, where: str) -> Quant | None:
    if len(entry.scale) == 0 or dtype in (DType.FLOAT32, DType.BOOL):
        return None
    scale = tuple(float(s) for s in entry.scale)
    zero = tuple(int(z) for z in entry.zero_point) or (0,)
    if scale == (0.0,):  # some converters write it for "not quantized"
        return None
    if any(not 0.0 < s < float("inf") for s in scale):
        raise corrupt(where, f"tensor {name!r} has a scale that is not positive and finite")
    if len(zero) not in (1, len(scale)):
        raise corrupt(where, f"tensor {name!r} has {len(scale)} scales and {len(zero)} zero points")
    info = np.iinfo(dtype.value)
    if any(not info.min <= z <= info.max for z in zero):
        raise corrupt(where, f"tensor {name!r} has a zero point outside {dtype.value}")
    if len(set(zero)) == 1:
        zero = zero[:1]
    return Quant(scale, zero, entry.axis if len(scale) > 1 else None)


def _data(reading: _Reading, entry: TensorEntry, shape: tuple[int, ...], dtype: DType, name: str,
          where: str) -> Array | None:
    """The constant as a view into the file. Shared buffers are fine, but not to describe more than the file holds."""
    blob = reading.file.buffer(entry.buffer)
    if blob is None:
        return None
    wanted = prod(shape) * dtype.bytes
    if len(blob) < wanted:
        raise corrupt(where, f"tensor {name!r} needs {wanted} bytes, its buffer has {len(blob)}")
    reading.constant_bytes += wanted
    if reading.constant_bytes > 1 << 30:
        raise corrupt(where, "its constants share buffers that add up to more than 1 GiB")
    return blob[:wanted].view(np.dtype(dtype.value).newbyteorder("<")).astype(dtype.value, copy=False).reshape(shape)
