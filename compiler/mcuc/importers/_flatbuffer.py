"""Bounded reading of a TFLite flatbuffer: what the importer needs, unpacked no more often than the file is large.

Vectors in a flatbuffer may overlap and point anywhere, so a small hostile file can describe an enormous model.
Counts are checked before anything is unpacked, and vectors are views into the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array

MAX_BYTES = 512 << 20
MAX_ENTRIES = 20_000  # tensors, operators, buffers, operator codes
MAX_RANK = 8
MAX_NAME = 200


@dataclass(frozen=True, eq=False)
class TensorEntry:
    """A tensor as the file has it; scale and zero_point empty where absent."""

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    type: int
    buffer: int
    scale: Array
    zero_point: Array
    axis: int
    sparse: bool
    variable: bool


@dataclass(frozen=True, eq=False)
class OperatorEntry:
    """An operator as the file has it: builtin name or CUSTOM(name), options object, tensor indices (-1: absent)."""

    kind: str
    options: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ModelFile:
    """The first subgraph of a file. buffers[i]: a view of the bytes, None where empty. subgraph(i): tensors and
    operators of another one; reading one again and again counts against the file's size."""

    tensors: tuple[TensorEntry, ...]
    operators: tuple[OperatorEntry, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    buffer: Callable[[int], Array | None]
    subgraphs: int
    signatures: int
    subgraph: Callable[[int], tuple[tuple[TensorEntry, ...], tuple[OperatorEntry, ...]]]


def corrupt(where: str, found: str) -> McucError:
    """The error of every damaged file."""
    return McucError("corrupt-model", found, where=where,
                     try_this="export the model again; check that the download is complete")


def read(raw: bytes, where: str) -> ModelFile:
    """The file's tables. Raises McucError("corrupt-model") for a damaged or oversized file."""
    if len(raw) < 16 or raw[4:8] != b"TFL3":
        raise corrupt(where, f"not a TFLite file ({len(raw)} bytes, identifier {raw[4:8]!r}, expected b'TFL3')")
    if len(raw) > MAX_BYTES:
        raise corrupt(where, f"the file has {len(raw)} bytes, more than {MAX_BYTES}")
    try:
        return _read(raw, where)
    except McucError:
        raise
    except Exception as error:  # a hostile buffer can fail anywhere inside the flatbuffer reader
        raise corrupt(where, "the flatbuffer is damaged: a table, vector or string of it lies elsewhere") from error


def _read(raw: bytes, where: str) -> ModelFile:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(raw, 0)
    if not 0 < model.SubgraphsLength() <= MAX_ENTRIES:
        raise corrupt(where, f"the file holds {model.SubgraphsLength()} subgraphs")
    _count(where, "buffers", model.BuffersLength())
    _count(where, "operator codes", model.OperatorCodesLength())
    graph = model.Subgraphs(0)
    kinds = [_kind(schema, model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    budget = [4 * len(raw)]

    def spend(amount: int) -> None:
        budget[0] -= amount
        if budget[0] < 0:
            raise corrupt(where, "its tables overlap")

    def tables(part: Any) -> tuple[tuple[TensorEntry, ...], tuple[OperatorEntry, ...]]:
        _count(where, "tensors", part.TensorsLength())
        _count(where, "operators", part.OperatorsLength())
        return (tuple(_tensor(part.Tensors(i), where, spend) for i in range(part.TensorsLength())),
                tuple(_operator(schema, part.Operators(i), kinds, where, spend) for i in range(part.OperatorsLength())))

    tensors, operators = tables(graph)

    def subgraph(index: int) -> tuple[tuple[TensorEntry, ...], tuple[OperatorEntry, ...]]:
        if not 0 < index < model.SubgraphsLength():
            raise corrupt(where, f"subgraph {index} does not exist")
        try:
            return tables(model.Subgraphs(index))
        except McucError:
            raise
        except Exception as error:  # as in read
            raise corrupt(where, f"subgraph {index} is damaged") from error

    def buffer(index: int) -> Array | None:
        if not 0 <= index < model.BuffersLength():
            raise corrupt(where, f"buffer {index} does not exist")
        entry = model.Buffers(index)
        if entry.DataLength():
            return np.asarray(entry.DataAsNumpy(), np.uint8)
        start, size = int(entry.Offset()), int(entry.Size())
        if start <= 1 or size == 0:
            return None
        if start + size > len(raw):  # data behind the flatbuffer, as large models have it
            raise corrupt(where, f"buffer {index} lies behind the end of the file")
        return np.frombuffer(raw, np.uint8, size, start)

    inputs, outputs = _indices(graph.InputsAsNumpy(), spend), _indices(graph.OutputsAsNumpy(), spend)
    return ModelFile(tensors, operators, inputs, outputs, buffer, model.SubgraphsLength(), model.SignatureDefsLength(),
                     subgraph)


def _count(where: str, what: str, found: int) -> None:
    if found > MAX_ENTRIES:
        raise corrupt(where, f"the file lists {found} {what}, more than {MAX_ENTRIES}")


def _vector(value: Any) -> Array:
    """A scalar vector of the schema; absent ones read as 0."""
    return np.asarray(value).reshape(-1) if isinstance(value, np.ndarray) else np.zeros(0, np.int64)


def _indices(value: Any, spend: Callable[[int], None]) -> tuple[int, ...]:
    found = _vector(value)
    spend(4 * len(found))
    return tuple(found.tolist())


def _kind(schema: Any, code: Any) -> str:
    number = max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))
    if number == schema.BuiltinOperator.CUSTOM:
        return f"CUSTOM({_text(code.CustomCode())[:60]})"
    names: dict[int, str] = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    return names.get(number, f"BUILTIN_{number}")


def _text(value: bytes | None) -> str:
    text = (value or b"")[:MAX_NAME].decode("utf-8", "replace")
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _tensor(entry: Any, where: str, spend: Callable[[int], None]) -> TensorEntry:
    if max(entry.ShapeLength(), entry.ShapeSignatureLength()) > MAX_RANK:
        raise corrupt(where, f"a tensor has {entry.ShapeLength()} axes, more than {MAX_RANK}")
    name = entry.Name() or b""
    spend(len(name))
    quant = entry.Quantization()
    scale, zero_point = (_vector(None),) * 2 if quant is None else (_vector(quant.ScaleAsNumpy()),
                                                                  _vector(quant.ZeroPointAsNumpy()))
    spend(4 * len(scale) + 8 * len(zero_point))
    shape, signature = (tuple(_vector(v).tolist()) for v in (entry.ShapeAsNumpy(), entry.ShapeSignatureAsNumpy()))
    axis = 0 if quant is None else int(quant.QuantizedDimension())
    return TensorEntry(_text(name), shape, signature, int(entry.Type()), int(entry.Buffer()), scale, zero_point, axis,
                       entry.Sparsity() is not None, bool(entry.IsVariable()))


def _operator(schema: Any, entry: Any, kinds: list[str], where: str, spend: Callable[[int], None]) -> OperatorEntry:
    index = int(entry.OpcodeIndex())
    if not 0 <= index < len(kinds):
        raise corrupt(where, f"operator code {index} is out of range")
    inputs, outputs = _indices(entry.InputsAsNumpy(), spend), _indices(entry.OutputsAsNumpy(), spend)
    options = schema.BuiltinOptionsCreator(entry.BuiltinOptionsType(), entry.BuiltinOptions())
    if options is None and entry.BuiltinOptions2Type():
        options = schema.BuiltinOptions2Creator(entry.BuiltinOptions2Type(), entry.BuiltinOptions2())
    return OperatorEntry(kinds[index], options, inputs, outputs)
