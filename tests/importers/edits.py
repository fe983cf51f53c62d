"""Small edits of .tflite files through the schema's object API, and the models that the importer tests start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from harness import RNG, activation, bias, constant, tflite_graph, weights

from mcuc.exporters import tflite as exporter
from mcuc.ir import Graph, Node, Tensor, check

Edit = Callable[[Any], None]


def unpack(blob: bytes) -> Any:
    """The file as the schema's mutable objects."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(blob, 0))


def pack(model: Any) -> bytes:
    """The objects as a file."""
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def edited(blob: bytes, edit: Edit) -> bytes:
    """The file with edit(model) applied to its objects."""
    model = unpack(blob)
    edit(model)
    return pack(model)


def chain(*graphs: Graph) -> Graph:
    """One-node graphs in a row, each reading what the one before computes (by tensor name)."""
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []
    for i, graph in enumerate(graphs):
        rename = {n: f"{i}/{n}" for n, t in graph.tensors.items() if t.data is not None}
        for name, tensor in graph.tensors.items():
            new = rename.get(name, name)
            tensors[new] = Tensor(new, tensor.shape, tensor.dtype, tensor.quant, tensor.data)
        nodes.extend(
            Node(f"{i}:{n.op}", n.op, tuple(rename.get(x, x) for x in n.inputs), n.outputs, n.attrs)
            for n in graph.nodes
        )
    return check(Graph("small", "tflite", tensors, tuple(nodes), graphs[0].inputs, graphs[-1].outputs))


def small_model() -> bytes:
    """conv -> max pool -> reshape -> dense -> softmax, about 4 KB."""
    rng = RNG(11)
    x, w = activation("x", (1, 8, 8, 3), 0.03, 5), weights(rng, (4, 3, 3, 3))
    a = activation("a", (1, 8, 8, 4), 0.2, -7)
    conv = tflite_graph(
        "CONV_2D", [x, w, bias(rng, x, w, 4)], a, strideH=1, strideW=1, padding=0, fusedActivationFunction=1
    )
    p = activation("p", (1, 4, 4, 4), 0.2, -7)
    pool = tflite_graph("MAX_POOL_2D", [a], p, strideH=2, strideW=2, filterHeight=2, filterWidth=2, padding=1)
    r = activation("r", (1, 64), 0.2, -7)
    flat = tflite_graph("RESHAPE", [p, constant("s", np.array([-1, 64], np.int32))], r)
    dw, y = weights(rng, (5, 64), per_channel=False), activation("d", (1, 5), 0.3, 1)
    dense = tflite_graph("FULLY_CONNECTED", [r, dw, bias(rng, r, dw, 5)], y)
    soft = tflite_graph("SOFTMAX", [y], activation("y", (1, 5), 1 / 256, -128), beta=1.0)
    return exporter.export(chain(conv, pool, flat, dense, soft))


def shape_chain(prefix_batch: bool = True) -> bytes:
    """x -> RESHAPE to the shape that SHAPE -> STRIDED_SLICE -> PACK computes, as converters flatten a batch."""
    x, y = activation("x", (1, 2, 3, 4), 0.1, 2), activation("y", (1, 24), 0.1, 2)
    graph = tflite_graph("RESHAPE", [x, constant("shape", np.array([1, 24], np.int32))], y)
    model = unpack(exporter.export(graph))
    sub = model.subgraphs[0]

    def tensor(name: str, shape: list[int], data: Any = None) -> int:
        entry = schema.TensorT()
        entry.name, entry.shape, entry.type, entry.buffer = name, shape, schema.TensorType.INT32, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.array(data, np.int32).tobytes(), np.uint8)
            entry.buffer = len(model.buffers)
            model.buffers.append(buffer)
        sub.tensors.append(entry)
        return len(sub.tensors) - 1

    def operator(kind: str, inputs: list[int], outputs: list[int], options: Any = None) -> Any:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        model.operatorCodes.append(code)
        entry = schema.OperatorT()
        entry.opcodeIndex, entry.inputs, entry.outputs = len(model.operatorCodes) - 1, inputs, outputs
        if options is not None:
            entry.builtinOptions = options
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        return entry

    names = [t.name if isinstance(t.name, str) else t.name.decode() for t in sub.tensors]
    full, batch, packed = tensor("full", [4]), tensor("batch", []), tensor("packed", [2])
    begin, end, step, rest = (
        tensor(n, s, d) for n, s, d in (("begin", [1], [0]), ("end", [1], [1]), ("step", [1], [1]), ("rest", [], 24))
    )
    cut = schema.StridedSliceOptionsT()
    cut.shrinkAxisMask = 1
    join = schema.PackOptionsT()
    join.valuesCount = 2
    shape_options = schema.ShapeOptionsT()
    shape_options.outType = schema.TensorType.INT32
    head = [
        operator("SHAPE", [names.index("x")], [full], shape_options),
        operator("STRIDED_SLICE", [full, begin, end, step], [batch], cut),
        operator("PACK", [batch, rest], [packed], join),
    ]
    reshape = sub.operators[0]
    reshape.inputs = [names.index("x"), packed]
    sub.operators = [*head, reshape]
    if prefix_batch:
        for name, signature in (("x", [-1, 2, 3, 4]), ("y", [-1, 24])):
            sub.tensors[names.index(name)].shapeSignature = signature
    return pack(model)
