"""Small networks as .tflite bytes, made by the project's own exporter, and versions of them that must be refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mcuc import ops
from mcuc.exporters import tflite as exporter
from mcuc.ir import DType, Graph, Node, Quant, Tensor, check
from mcuc.ops._base import Imported

SAME, VALID = 0, 1
RELU = 1


def activation(name: str, shape: Sequence[int], scale: float, zero_point: int, dtype: DType = DType.INT8) -> Tensor:
    return Tensor(name, tuple(shape), dtype, Quant((float(np.float32(scale)),), (zero_point,)))


def weights(rng: np.random.Generator, name: str, shape: Sequence[int], axis: int) -> Tensor:
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.002, 0.01, shape[axis]))
    return Tensor(
        name,
        tuple(shape),
        DType.INT8,
        Quant(scales, (0,), axis if len(scales) > 1 else None),
        rng.integers(-127, 128, tuple(shape)).astype(np.int8),
    )


def bias(rng: np.random.Generator, name: str, x: Tensor, w: Tensor) -> Tensor:
    assert x.quant is not None and w.quant is not None
    scales = tuple(float(np.float32(x.quant.scale[0] * s)) for s in w.quant.scale)
    return Tensor(
        name,
        (len(scales),),
        DType.INT32,
        Quant(scales, (0,), 0 if len(scales) > 1 else None),
        rng.integers(-2000, 2001, len(scales)).astype(np.int32),
    )


def constant(name: str, values: Sequence[int]) -> Tensor:
    data = np.array(values, np.int32)
    return Tensor(name, data.shape, DType.INT32, None, data)


def network(
    name: str, steps: Sequence[tuple[str, str, Sequence[Tensor], Tensor, dict[str, int]]], inputs: Sequence[Tensor]
) -> Graph:
    """steps: (TFLite operator, its options table, inputs, output, options). The last output is the network's."""
    tensors: dict[str, Tensor] = {}
    nodes = []
    for i, (kind, table, used, out, fields) in enumerate(steps):
        options = getattr(schema, f"{table}OptionsT")() if table else None
        for key, value in fields.items():
            assert hasattr(options, key), f"{table} has no option {key}"
            setattr(options, key, value)
        operator = ops.find_tflite(kind, name)
        assert operator.from_tflite is not None
        built = operator.from_tflite(Imported(kind, options, tuple(used), (out,), f"{kind} #{i}"))
        tensors.update((t.name, t) for t in (*used, out, *built.constants))
        nodes.append(Node(f"{i}:{kind}", built.op, built.inputs, (out.name,), built.attrs))
    wanted = {n for node in nodes for n in (*node.inputs, *node.outputs) if n}
    return check(
        Graph(
            name,
            "tflite",
            {k: v for k, v in tensors.items() if k in wanted},
            tuple(nodes),
            tuple(t.name for t in inputs),
            (steps[-1][3].name,),
        )
    )


def tiny_graph(classes: int = 4, seed: int = 0, side: int = 8) -> Graph:
    """8x8x1 image (or larger): convolution, depthwise, pointwise, average pool, reshape, dense, softmax."""
    rng, half = np.random.default_rng(seed), side // 2
    x = activation("image", (1, side, side, 1), 1 / 255, -128)
    a = activation("conv", (1, half, half, 6), 0.02, -128)
    b = activation("depthwise", (1, half, half, 6), 0.02, -128)
    c = activation("pointwise", (1, half, half, 8), 0.03, -128)
    d = activation("pool", (1, 1, 1, 8), 0.03, -128)
    e = activation("flat", (1, 8), 0.03, -128)
    f = activation("dense", (1, classes), 0.1, 3)
    y = activation("probabilities", (1, classes), 1 / 256, -128)
    w1, w2 = weights(rng, "conv/w", (6, 3, 3, 1), 0), weights(rng, "depthwise/w", (1, 3, 3, 6), 3)
    w3, w4 = weights(rng, "pointwise/w", (8, 1, 1, 6), 0), weights(rng, "dense/w", (classes, 8), 0)
    conv = {
        "strideH": 1,
        "strideW": 1,
        "padding": SAME,
        "fusedActivationFunction": RELU,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
    }
    pool = {"strideH": half, "strideW": half, "filterHeight": half, "filterWidth": half, "padding": VALID}
    return network(
        "tiny",
        [
            ("CONV_2D", "Conv2D", (x, w1, bias(rng, "conv/b", x, w1)), a, {**conv, "strideH": 2, "strideW": 2}),
            (
                "DEPTHWISE_CONV_2D",
                "DepthwiseConv2D",
                (a, w2, bias(rng, "depthwise/b", a, w2)),
                b,
                {**conv, "depthMultiplier": 1},
            ),
            ("CONV_2D", "Conv2D", (b, w3, bias(rng, "pointwise/b", b, w3)), c, conv),
            ("AVERAGE_POOL_2D", "Pool2D", (c,), d, pool),
            ("RESHAPE", "Reshape", (d, constant("shape", (1, 8))), e, {}),
            ("FULLY_CONNECTED", "FullyConnected", (e, w4, bias(rng, "dense/b", e, w4)), f, {}),
            ("SOFTMAX", "Softmax", (f,), y, {"beta": 1}),
        ],
        [x],
    )


def chain_graph(channels: Sequence[int] = (6, 10, 13), side: int = 12) -> Graph:
    """A depthwise and a pointwise convolution for each number of channels, of different sizes."""
    rng = np.random.default_rng(4)
    x = inputs = activation("image", (1, side, side, 5), 1 / 255, -128)
    options = {"strideH": 1, "strideW": 1, "padding": SAME, "dilationHFactor": 1, "dilationWFactor": 1}
    steps: list[tuple[str, str, Sequence[Tensor], Tensor, dict[str, int]]] = []
    for n in channels:
        y = activation(f"depthwise{n}", x.shape, 0.02, -128)
        w = weights(rng, f"depthwise{n}/w", (1, 3, 3, x.shape[3]), 3)
        depth = {**options, "depthMultiplier": 1, "fusedActivationFunction": RELU}
        steps.append(("DEPTHWISE_CONV_2D", "DepthwiseConv2D", (x, w, bias(rng, f"depthwise{n}/b", x, w)), y, depth))
        x = activation(f"pointwise{n}", (1, side, side, n), 0.03, -128)
        w = weights(rng, f"pointwise{n}/w", (n, 1, 1, y.shape[3]), 0)
        steps.append(("CONV_2D", "Conv2D", (y, w, bias(rng, f"pointwise{n}/b", y, w)), x, options))
    return network("chain", steps, [inputs])


def dense_graph(size: int, outputs: int) -> Graph:
    """One dense layer: size x outputs bytes of weights."""
    rng = np.random.default_rng(1)
    x, y = activation("x", (1, size), 0.05, 3), activation("y", (1, outputs), 0.5, -4)
    w = weights(rng, "w", (outputs, size), 0)
    return network("dense", [("FULLY_CONNECTED", "FullyConnected", (x, w, bias(rng, "b", x, w)), y, {})], [x])


def tokens_graph(tokens: int, features: int, outputs: int, layers: int = 1) -> Graph:
    """Dense layers over so many tokens, with small weights, as most of trained ones are: features x outputs bytes in
    the first, outputs x outputs in the others."""
    rng = np.random.default_rng(7)
    x = inputs = activation("x", (1, tokens, 1, features), 0.05, 3)
    options = {"strideH": 1, "strideW": 1, "padding": SAME, "dilationHFactor": 1, "dilationWFactor": 1}
    steps: list[tuple[str, str, Sequence[Tensor], Tensor, dict[str, int]]] = []
    for i in range(layers):
        y = activation(f"y{i}", (1, tokens, 1, outputs), 0.5, -4)
        w = weights(rng, f"w{i}", (outputs, 1, 1, x.shape[3]), 0)
        assert w.data is not None
        w = replace(w, data=np.asarray(w.data // 4, np.int8))
        steps.append(("CONV_2D", "Conv2D", (x, w, bias(rng, f"b{i}", x, w)), y, options))
        x = y
    return network("tokens", steps, [inputs])


def mlp_graph(tokens: int, features: int, hidden: int, blocks: int) -> Graph:
    """Pairs of dense layers over so many tokens, features -> hidden -> features, with small weights."""
    rng = np.random.default_rng(7)
    x = inputs = activation("x", (1, tokens, features), 0.05, 3)
    steps: list[tuple[str, str, Sequence[Tensor], Tensor, dict[str, int]]] = []
    for i, outputs in enumerate((hidden, features) * blocks):
        y = activation(f"y{i}", (1, tokens, outputs), 0.5, -4)
        w = weights(rng, f"w{i}", (outputs, x.shape[2]), 0)
        assert w.data is not None
        w = replace(w, data=np.asarray(w.data // 4, np.int8))
        steps.append(("FULLY_CONNECTED", "FullyConnected", (x, w, bias(rng, f"b{i}", x, w)), y, {"keepNumDims": True}))
        x = y
    return network("mlp", steps, [inputs])


def wide_graph(side: int = 64, channels: int = 16) -> Graph:
    """One pointwise convolution over a large image, its output larger than its input."""
    rng = np.random.default_rng(2)
    x, y = activation("x", (1, side, side, channels), 0.05, 3), activation("y", (1, side, side, channels + 1), 0.1, -4)
    w = weights(rng, "w", (channels + 1, 1, 1, channels), 0)
    return network(
        "wide",
        [
            (
                "CONV_2D",
                "Conv2D",
                (x, w, bias(rng, "b", x, w)),
                y,
                {"strideH": 1, "strideW": 1, "padding": SAME, "dilationHFactor": 1, "dilationWFactor": 1},
            )
        ],
        [x],
    )


@cache
def tiny() -> bytes:
    return exporter.export(tiny_graph())


@cache
def photo() -> bytes:
    """A 32x32 image: large enough for streams to save memory."""
    return exporter.export(tiny_graph(side=32))


@cache
def wide() -> bytes:
    """Its output alone is larger than the SRAM of a small board."""
    return exporter.export(wide_graph(96))


@cache
def heavy() -> bytes:
    """300 KB of weights."""
    return exporter.export(dense_graph(600, 512))


def _unpacked(blob: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(blob, 0))


def _packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_operators(blob: bytes, **renamed: str) -> bytes:
    """The model with operators of one kind called another: with_operators(tiny(), SOFTMAX="COS")."""
    model = _unpacked(blob)
    for old, new in renamed.items():
        for code in model.operatorCodes:
            if code.builtinCode == getattr(schema.BuiltinOperator, old):
                number = getattr(schema.BuiltinOperator, new)
                code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    return _packed(model)


def as_float(blob: bytes, weights_too: bool = True) -> bytes:
    """The model in float; with its weights left in int8 it is a dynamic-range ("hybrid") model."""
    model = _unpacked(blob)
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT8 and (data is None or weights_too):
            tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
            if data is not None:
                floats = np.asarray(data, np.uint8).view(np.int8).astype(np.float32)
                model.buffers[tensor.buffer].data = np.frombuffer(floats.tobytes(), np.uint8)
        elif tensor.type == schema.TensorType.INT32 and tensor.quantization is not None and data is not None:
            floats = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.int32).astype(np.float32)
            tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
            model.buffers[tensor.buffer].data = np.frombuffer(floats.tobytes(), np.uint8)
    return _packed(model)


def with_float_ends(blob: bytes) -> bytes:
    """The model with float input and output: QUANTIZE in front, DEQUANTIZE behind, as converters write it."""
    model = _unpacked(blob)
    graph = model.subgraphs[0]
    for kind, ends in (("QUANTIZE", graph.inputs), ("DEQUANTIZE", graph.outputs)):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 2
        model.operatorCodes.append(code)
        inner = ends[0]
        outer = schema.TensorT()
        outer.name, outer.shape, outer.type, outer.buffer = (
            f"float_{kind}",
            graph.tensors[inner].shape,
            schema.TensorType.FLOAT32,
            0,
        )
        graph.tensors.append(outer)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        index = len(graph.tensors) - 1
        pair = (index, inner) if kind == "QUANTIZE" else (inner, index)
        operator.inputs, operator.outputs = [pair[0]], [pair[1]]
        graph.operators.insert(0 if kind == "QUANTIZE" else len(graph.operators), operator)
        if kind == "QUANTIZE":
            graph.inputs = [index]
        else:
            graph.outputs = [index]
    return _packed(model)


def exported(graph: Graph) -> bytes:
    """Any graph as a .tflite file."""
    return exporter.export(graph)
