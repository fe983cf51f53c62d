"""Graph -> .tflite, through the schema module of ai-edge-litert. The graph must not have folded zero points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from mcuc import ops
from mcuc.errors import McucError
from mcuc.exporters._tflite_state import split, with_states
from mcuc.exporters._tflite_table import as_lookup
from mcuc.ir import Array, DType, Graph, Node, Tensor
from mcuc.ops._base import Exported, scale_of, zero_point_of

_TYPES = {
    DType.FLOAT32: 0,
    DType.INT32: 2,
    DType.UINT8: 3,
    DType.INT64: 4,
    DType.BOOL: 6,
    DType.INT16: 7,
    DType.INT8: 9,
}
_INT4 = 17


@dataclass(frozen=True)
class Entry:
    """An operator of a file: how it is written, the tensors that it reads (None: absent) and those that it writes."""

    form: Exported
    inputs: Sequence[Tensor | None]
    outputs: Sequence[Tensor]


def export(graph: Graph, float_ends: bool = False) -> bytes:
    """The graph as a TFLite flatbuffer with the signature "serving_default".

    float_ends: inputs and outputs are float32, behind QUANTIZE and DEQUANTIZE. Raises McucError("not-exportable") for
    what TFLite cannot express.
    """
    if float_ends:
        graph = _with_float_ends(graph)

    resources, variables = split(graph)
    written = {state.next for state in variables.values()}

    def entries() -> Iterator[Entry]:
        for node in graph.nodes:
            if node.op == "assign":
                continue
            operator = ops.get(node.op)
            if operator.to_tflite is None or graph.profile != "tflite":
                raise McucError(
                    "not-exportable",
                    f"operator {node.op} of profile {graph.profile} has no TFLite form",
                    where=node.name,
                    try_this="export to ONNX instead",
                )
            try:
                form = operator.to_tflite(node, graph)
            except McucError:
                spelled = as_lookup(node, graph)
                if not spelled:
                    raise
                yield from (Entry(*one) for one in spelled)
                continue
            constants = {t.name: t for t in form.constants}
            names = node.inputs if form.inputs is None else form.inputs
            inputs = [None if not n else constants[n] if n in constants else graph.tensors[n] for n in names]
            yield Entry(form, inputs, [graph.tensors[n] for n in node.outputs if n not in written])

    given = [graph.tensors[n] for n in (*graph.inputs, *resources)]
    kept = [graph.tensors[n] for n in (*graph.outputs, *(node.inputs[0] for _, node in resources.values()))]
    blob = write(graph.name, given, kept, entries())
    return with_states(blob, graph) if graph.states else blob


def write(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], entries: Iterable[Entry]) -> bytes:
    """A TFLite flatbuffer of one subgraph with the signature "serving_default"."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version = 3
    model.description = "mcuc"
    empty = schema.BufferT()
    model.buffers = [empty]
    model.operatorCodes = []
    subgraph = schema.SubGraphT()
    subgraph.name = name
    subgraph.tensors = []
    subgraph.operators = []
    index: dict[str, int] = {}

    def tensor_index(tensor: Tensor) -> int:
        if tensor.name not in index:
            index[tensor.name] = len(subgraph.tensors)
            subgraph.tensors.append(_tensor(schema, model, tensor))
        return index[tensor.name]

    subgraph.inputs = [tensor_index(t) for t in inputs]
    codes: dict[str, int] = {}
    for written in entries:
        form = written.form
        if form.kind not in codes:
            codes[form.kind] = len(model.operatorCodes)
            code = schema.OperatorCodeT()
            number = getattr(schema.BuiltinOperator, form.kind)
            code.builtinCode, code.deprecatedBuiltinCode, code.version = (
                number,
                min(number, 127),
                _version(form.kind),
            )
            model.operatorCodes.append(code)
        entry = schema.OperatorT()
        entry.opcodeIndex = codes[form.kind]
        entry.inputs = [-1 if t is None else tensor_index(t) for t in written.inputs]
        entry.outputs = [tensor_index(t) for t in written.outputs]
        entry.intermediates = [tensor_index(t) for t in form.intermediates] or None
        if form.options:
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, form.options)
            entry.builtinOptions = options(form)
        subgraph.operators.append(entry)
    subgraph.outputs = [tensor_index(t) for t in outputs]
    model.subgraphs = [subgraph]
    model.signatureDefs = [_signature(schema, [t.name for t in inputs], [t.name for t in outputs], index)]
    builder = _shared_vectors()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def options(form: Exported) -> Any:
    """TFLite's table of the operator's options, its defaults where the form says nothing."""
    from ai_edge_litert import schema_py_generated as schema

    table = getattr(schema, f"{form.options}T")() if form.options else SimpleNamespace()
    for key, value in form.fields.items():
        if form.options and not hasattr(table, key):
            raise McucError(
                "internal",
                f"{form.options} has no field {key}",
                where=form.kind,
                try_this="report this as a bug of mcuc, with the model",
            )
        setattr(table, key, value)
    return table


def _shared_vectors() -> Any:
    """A builder that writes equal arrays once: zero points of per-channel weights and biases are all alike, and would
    take 16 bytes a channel."""
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(1 << 16)
            self.written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: Array) -> int:
            key = (x.dtype.str, x.tobytes())
            if key not in self.written:
                self.written[key] = super().CreateNumpyVector(x)
            return self.written[key]

    return Builder()


def _with_float_ends(graph: Graph) -> Graph:
    """Quantized inputs and outputs as float32 ones of the same names; what was between them gets another."""
    from mcuc.ops.dequantize import DequantizeAttrs
    from mcuc.ops.quantize import QuantizeAttrs

    ends = [n for n in (*graph.inputs, *graph.outputs) if graph.tensors[n].quant is not None]
    inner = {n: f"{n}/integers" for n in ends}
    renamed = {inner.get(k, k): replace(t, name=inner.get(k, k)) for k, t in graph.tensors.items()}
    outer = {n: Tensor(n, graph.tensors[n].shape, DType.FLOAT32) for n in ends}
    nodes = [
        replace(n, inputs=tuple(inner.get(i, i) for i in n.inputs), outputs=tuple(inner.get(o, o) for o in n.outputs))
        for n in graph.nodes
    ]
    first = [
        Node(f"{n}/quantize", "quantize", (n,), (inner[n],), QuantizeAttrs(b"")) for n in graph.inputs if n in inner
    ]
    last = []
    for n in (o for o in graph.outputs if o in inner):
        scale, zero = scale_of(graph.tensors[n], n), zero_point_of(graph.tensors[n], n)
        last.append(Node(f"{n}/dequantize", "dequantize", (inner[n],), (n,), DequantizeAttrs(scale, zero)))
    return replace(graph, nodes=(*first, *nodes, *last), tensors={**renamed, **outer})


def _signature(schema: Any, inputs: Sequence[str], outputs: Sequence[str], index: Mapping[str, int]) -> Any:
    """The names by which LiteRT's signature runner takes inputs and gives outputs."""
    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.subgraphIndex = 0

    def entry(name: str) -> Any:
        found = schema.TensorMapT()
        found.name = name
        found.tensorIndex = index[name]
        return found

    signature.inputs = [entry(n) for n in inputs]
    signature.outputs = [entry(n) for n in outputs]
    return signature


def _halves(data: Array) -> Array:
    """Two elements of four bits a byte, the lower half first."""
    flat = data.reshape(-1).view(np.uint8) & 0x0F
    even = np.concatenate([flat, np.zeros(flat.size % 2, np.uint8)])
    packed: Array = even[::2] | even[1::2] << 4
    return packed


def _version(kind: str) -> int:
    """The operator version in which TFLite introduced int8 (tensorflow/lite/tools/versioning)."""
    return {
        "CONV_2D": 3,
        "DEPTHWISE_CONV_2D": 3,
        "FULLY_CONNECTED": 4,
        "ADD": 2,
        "MUL": 2,
        "AVERAGE_POOL_2D": 2,
        "MAX_POOL_2D": 2,
        "SOFTMAX": 2,
        "LOGISTIC": 2,
        "RELU": 2,
        "RELU6": 2,
        "PAD": 2,
        "PADV2": 2,
        "MEAN": 2,
        "CONCATENATION": 2,
        "TRANSPOSE": 2,
        "TRANSPOSE_CONV": 3,
        "BATCH_MATMUL": 2,
        "STRIDED_SLICE": 2,
        "SLICE": 2,
        "RESIZE_NEAREST_NEIGHBOR": 3,
        "QUANTIZE": 2,
        "DEQUANTIZE": 2,
        "RESHAPE": 1,
    }.get(kind, 1)


def _tensor(schema: Any, model: Any, tensor: Tensor) -> Any:
    entry = schema.TensorT()
    entry.name = tensor.name
    entry.shape = list(tensor.shape)
    entry.type = _INT4 if tensor.int4 else _TYPES[tensor.dtype]
    entry.buffer = 0
    if tensor.data is not None:
        buffer = schema.BufferT()
        data = _halves(tensor.data) if tensor.int4 else tensor.data
        buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        entry.buffer = len(model.buffers)
        model.buffers.append(buffer)
    if tensor.quant is not None:
        quant = schema.QuantizationParametersT()
        quant.scale = np.array(tensor.quant.scale, np.float32)
        zeros = tensor.quant.zero_point
        quant.zeroPoint = np.array(zeros if len(zeros) == len(quant.scale) else zeros * len(quant.scale), np.int64)
        quant.quantizedDimension = tensor.quant.axis or 0
        entry.quantization = quant
    return entry
