"""What real .tflite files do: each case is a file, imported, optimized, compared with TFLite Micro."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from edits import chain, edited, pack, shape_chain, small_model, unpack
from harness import (
    RNG,
    activation,
    assert_equal,
    bias,
    check_tflite,
    constant,
    run_reference,
    samples,
    tflite_graph,
    weights,
)

from mcuc import passes
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.ir import DType, Graph, Tensor
from mcuc.numerics import tflite_quantize_float
from mcuc.verify import oracle


def compare(blob: bytes, count: int = 4) -> Graph:
    """The optimized graph of a file, after its reference has equalled TFLite Micro byte for byte."""
    imported = importer.parse(blob, "case.tflite", "case")
    graph = passes.check_supported(passes.optimize(imported))
    inputs = samples(imported, count)
    expected = oracle.tflite_micro(blob, inputs)
    assert_equal(expected, run_reference(imported, inputs), "imported")
    assert_equal(expected, run_reference(graph, inputs), "optimized")
    return imported


def test_the_small_model_is_exact() -> None:
    assert [n.op for n in compare(small_model()).nodes] == [
        "conv_2d",
        "max_pool_2d",
        "reshape",
        "fully_connected",
        "softmax",
    ]


def test_of_several_subgraphs_the_first_is_compiled_and_the_report_says_so() -> None:
    def edit(model: Any) -> None:
        other = schema.SubGraphT()
        other.name, other.tensors, other.operators, other.inputs, other.outputs = b"init", [], [], [], []
        model.subgraphs.append(other)

    assert "2 subgraphs found, the first one is compiled" in compare(edited(small_model(), edit)).notes


def test_several_signatures_are_noted() -> None:
    def edit(model: Any) -> None:
        model.signatureDefs = []
        for key in (b"serve", b"train"):
            signature = schema.SignatureDefT()
            signature.signatureKey, signature.subgraphIndex = key, 0
            signature.inputs, signature.outputs = [], []
            model.signatureDefs.append(signature)

    assert "2 signatures found, the first subgraph is compiled" in compare(edited(small_model(), edit)).notes


def test_tensors_may_share_a_buffer() -> None:
    rng = RNG(2)
    x, w = activation("x", (1, 4), 0.1, 3), weights(rng, (4, 4))
    a, y = activation("a", (1, 4), 0.3, -2), activation("y", (1, 4), 0.5, 1)
    graph = chain(
        tflite_graph("FULLY_CONNECTED", [x, w, bias(rng, x, w, 4)], a),
        tflite_graph("FULLY_CONNECTED", [a, w, bias(rng, a, w, 4)], y),
    )

    def edit(model: Any) -> None:
        first, second = (t for t in model.subgraphs[0].tensors if list(t.shape) == [4, 4])
        second.buffer = first.buffer

    imported = compare(edited(exporter.export(graph), edit))
    first, second = (imported.const(n.inputs[1]) for n in imported.nodes)
    assert np.array_equal(first, second)


def test_buffers_behind_the_flatbuffer_are_read() -> None:
    blob = small_model()
    model = unpack(blob)
    parts = {i: np.asarray(b.data, np.uint8).tobytes() for i, b in enumerate(model.buffers) if b.data is not None}
    for i in parts:
        model.buffers[i].data, model.buffers[i].offset, model.buffers[i].size = None, 1 << 30, len(parts[i])
    at = (len(pack(model)) + 15) & ~15  # the fields are present, so the size does not change with their values
    for i, part in parts.items():
        model.buffers[i].offset = at
        at += (len(part) + 15) & ~15
    external = pack(model)
    for i, part in parts.items():
        external = external.ljust(model.buffers[i].offset, b"\0") + part
    inner, outer = (importer.parse(b, "case.tflite", "case") for b in (blob, external))
    assert str(inner) == str(outer) and any(t.data is not None for t in outer.tensors.values())
    inputs = samples(inner, 4)
    assert_equal(run_reference(inner, inputs), run_reference(outer, inputs), "external buffers")


@pytest.mark.parametrize("how", ["two inputs", "a third input of -1"])
def test_convolution_without_bias(how: str) -> None:
    rng = RNG(3)
    x, w = activation("x", (1, 5, 5, 2), 0.1, 3), weights(rng, (3, 3, 3, 2))
    inputs = [x, w] if how == "two inputs" else [x, w, None]
    graph = tflite_graph("CONV_2D", inputs, activation("y", (1, 3, 3, 3), 0.5, 1), strideH=1, strideW=1, padding=1)
    blob = exporter.export(graph)
    if how != "two inputs":

        def edit(model: Any) -> None:
            model.subgraphs[0].operators[0].inputs = [*model.subgraphs[0].operators[0].inputs[:2], -1]

        blob = edited(blob, edit)
    compare(blob)


@pytest.mark.parametrize("activation_number", [0, 1, 3])
def test_dense_per_channel(activation_number: int) -> None:
    rng = RNG(4)
    x, w = activation("x", (1, 9), 0.1, 3), weights(rng, (6, 9))
    assert len(w.quant.scale) == 6  # type: ignore[union-attr]
    compare(
        exporter.export(
            tflite_graph(
                "FULLY_CONNECTED",
                [x, w, bias(rng, x, w, 6)],
                activation("y", (1, 6), 0.4, -9),
                fusedActivationFunction=activation_number,
            )
        )
    )


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_is_quantized_along_its_last_axis(multiplier: int) -> None:
    rng = RNG(5)
    x, w = activation("x", (1, 6, 5, 2), 0.1, 3), weights(rng, (1, 3, 3, 2 * multiplier), axis=3)
    y = activation("y", (1, 6, 5, 2 * multiplier), 0.5, 1)
    graph = compare(
        exporter.export(
            tflite_graph(
                "DEPTHWISE_CONV_2D",
                [x, w, bias(rng, x, w, 2 * multiplier)],
                y,
                strideH=1,
                strideW=1,
                padding=0,
                depthMultiplier=multiplier,
            )
        )
    )
    assert graph.tensors["w"].quant.axis == 3  # type: ignore[union-attr]


def test_depthwise_quantized_along_another_axis_is_refused() -> None:
    rng = RNG(5)
    x, w = activation("x", (1, 6, 5, 2), 0.1, 3), weights(rng, (1, 3, 3, 2), axis=3)
    blob = exporter.export(
        tflite_graph(
            "DEPTHWISE_CONV_2D",
            [x, w],
            activation("y", (1, 4, 3, 2), 0.5, 1),
            strideH=1,
            strideW=1,
            padding=1,
            depthMultiplier=1,
        )
    )

    def edit(model: Any) -> None:
        next(t for t in model.subgraphs[0].tensors if t.name in ("w", b"w")).quantization.quantizedDimension = 0

    with pytest.raises(McucError, match="2 scales along axis 0"):
        importer.parse(edited(blob, edit), "case.tflite", "case")


def test_scales_beyond_every_multiplier_are_refused_where_they_are() -> None:
    """TFLite Micro shifts a 1 out of an int32 there, and answers with either end of the range."""
    graph = tflite_graph("QUANTIZE", [activation("x", (1, 4), 1024.0)], activation("y", (1, 4), 2.0**-19))
    blob = exporter.export(graph)

    def edit(model: Any) -> None:
        next(t for t in model.subgraphs[0].tensors if t.name in ("y", b"y")).quantization.scale = [2.0**-20]

    with pytest.raises(McucError, match="2\\^30 is the most") as caught:
        importer.parse(edited(blob, edit), "case.tflite", "case")
    assert "QUANTIZE #0" in caught.value.where and "'y'" in caught.value.where


@pytest.mark.parametrize("size", [(5, 5), (6, 6), (5, 8), (1, 2), (7, 4)])
@pytest.mark.parametrize("kernel, stride", [(3, 2), (1, 2), (2, 2), (5, 2), (3, 3)])
def test_same_padding_with_strides(size: tuple[int, int], kernel: int, stride: int) -> None:
    rng = RNG(6)
    x, w = activation("x", (1, *size, 2), 0.1, 3), weights(rng, (3, kernel, kernel, 2))
    kept = tuple(-(-n // stride) for n in size)
    check_tflite(
        tflite_graph(
            "CONV_2D",
            [x, w, bias(rng, x, w, 3)],
            activation("y", (1, *kept, 3), 0.5, 1),
            strideH=stride,
            strideW=stride,
            padding=0,
        ),
        2,
    )


@pytest.mark.parametrize("kind", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
@pytest.mark.parametrize("size", [(5, 5), (6, 5)])
def test_pools_with_same_padding_at_stride_2(kind: str, size: tuple[int, int]) -> None:
    kept = tuple(-(-n // 2) for n in size)
    x, y = activation("x", (1, *size, 3), 0.1, 3), activation("y", (1, *kept, 3), 0.1, 3)
    compare(exporter.export(tflite_graph(kind, [x], y, strideH=2, strideW=2, filterHeight=3, filterWidth=3, padding=0)))


@pytest.mark.parametrize("axes, kept", [([1, 2], (1, 3)), ([1], (1, 5, 3)), ([3], (1, 4, 5))])
def test_mean_with_differing_scales(axes: list[int], kept: tuple[int, ...]) -> None:
    x, y = activation("x", (1, 4, 5, 3), 0.1, 3), activation("y", kept, 0.037, -20)
    compare(exporter.export(tflite_graph("MEAN", [x, constant("a", np.array(axes, np.int32))], y)))


def test_concat_with_differing_scales_is_refused_by_tflite_micro_and_rescaled_here() -> None:
    parts = [activation("x0", (1, 2, 2, 3), 0.1, 3), activation("x1", (1, 2, 2, 2), 0.27, -20)]
    same = [Tensor(p.name, p.shape, p.dtype, activation("y", (1,), 0.3, 4).quant) for p in parts]
    blob = exporter.export(tflite_graph("CONCATENATION", same, activation("y", (1, 2, 2, 5), 0.3, 4), axis=3))

    def edit(model: Any) -> None:
        for part in parts:
            tensor = next(t for t in model.subgraphs[0].tensors if t.name in (part.name, part.name.encode()))
            tensor.quantization.scale = np.array(part.quant.scale, np.float32)  # type: ignore[union-attr]
            tensor.quantization.zeroPoint = np.array(part.quant.zero_point, np.int64)  # type: ignore[union-attr]

    blob = edited(blob, edit)
    imported = importer.parse(blob, "case.tflite", "case")
    inputs = samples(imported, 3)
    with pytest.raises(McucError, match="failed to prepare"):
        oracle.tflite_micro(blob, inputs)
    assert sum("rescaled" in note for note in imported.notes) == 2
    for (x0, x1), (found,) in zip(inputs, run_reference(imported, inputs), strict=True):
        for x, part, got in ((x0, parts[0], found[..., :3]), (x1, parts[1], found[..., 3:])):
            scale, zero = part.quant.scale[0], part.quant.zero_point[0]  # type: ignore[union-attr]
            real = np.clip(scale * (x.astype(np.float64) - zero) / 0.3 + 4, -128, 127)
            assert np.abs(real - got).max() < 1.0  # QUANTIZE rounds twice


def test_padv2() -> None:
    fill = constant("f", np.array([-128], np.int8), [0.1], [3])
    pads = constant("p", np.array([[0, 0], [1, 0], [2, 3], [0, 0]], np.int32))
    x, y = activation("x", (1, 3, 3, 2), 0.1, 3), activation("y", (1, 4, 8, 2), 0.1, 3)
    graph = compare(exporter.export(tflite_graph("PADV2", [x, pads, fill], y)))
    assert graph.nodes[0].attrs.value == -128


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 4, 5, 1), (3,), (1, 1, 5, 3)])
@pytest.mark.parametrize("frozen", [False, True])
def test_broadcast_add(shape: tuple[int, ...], frozen: bool) -> None:
    x, y = activation("x", (1, 4, 5, 3), 0.1, 3), activation("y", (1, 4, 5, 3), 0.2, -5)
    other = activation("b", shape, 0.07, -9)
    if frozen:
        other = constant("b", RNG(7).integers(-128, 128, shape).astype(np.int8), [0.07], [-9])
    compare(exporter.export(tflite_graph("ADD", [x, other], y)))


@pytest.mark.parametrize("size", [(8, 10), (2, 3), (6, 7)])
def test_half_pixel_resize(size: tuple[int, int]) -> None:
    x, y = activation("x", (1, 4, 5, 3), 0.1, 3), activation("y", (1, *size, 3), 0.1, 3)
    compare(
        exporter.export(
            tflite_graph(
                "RESIZE_NEAREST_NEIGHBOR", [x, constant("s", np.array(size, np.int32))], y, halfPixelCenters=True
            )
        )
    )


def test_shape_strided_slice_pack_reshape_folds_once_the_batch_is_1() -> None:
    blob = shape_chain()
    graph = compare(blob)
    assert "batch -1 in the file is read as 1" in graph.notes
    assert [n.op for n in graph.nodes] == ["shape", "slice", "pack", "reshape"]
    assert [n.op for n in passes.optimize(graph).nodes] == ["reshape"]


def test_a_shape_chain_through_arithmetic_folds() -> None:
    """SHAPE -> GATHER -> CAST -> MUL -> CONCATENATION -> RESHAPE, with REDUCE_PROD and FILL on the side."""
    blob = shape_chain(prefix_batch=False)
    model = unpack(blob)
    sub = model.subgraphs[0]

    def tensor(name: str, shape: list[int], data: Any = None, kind: int = schema.TensorType.INT32) -> int:
        entry = schema.TensorT()
        entry.name, entry.shape, entry.type, entry.buffer = name, shape, kind, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.array(data, np.int32).tobytes(), np.uint8)
            entry.buffer = len(model.buffers)
            model.buffers.append(buffer)
        sub.tensors.append(entry)
        return len(sub.tensors) - 1

    def operator(kind: str, inputs: list[int], output: int, options: str = "", **fields: Any) -> Any:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        model.operatorCodes.append(code)
        entry = schema.OperatorT()
        entry.opcodeIndex, entry.inputs, entry.outputs = len(model.operatorCodes) - 1, inputs, [output]
        if options:
            table = getattr(schema, f"{options}T")()
            for key, value in fields.items():
                setattr(table, key, value)
            entry.builtinOptions, entry.builtinOptionsType = table, getattr(schema.BuiltinOptions, options)
        return entry

    reshape = sub.operators[-1]
    x = reshape.inputs[0]
    full, three, wide = tensor("full2", [4]), tensor("three", [3]), tensor("wide", [3], kind=schema.TensorType.INT64)
    narrow, product, one, joined = (
        tensor("narrow", [3]),
        tensor("product", [1]),
        tensor("ones", [1]),
        tensor("joined", [2]),
    )
    operators = [
        operator("SHAPE", [x], full, "ShapeOptions", outType=schema.TensorType.INT32),
        operator("GATHER", [full, tensor("picks", [3], [1, 2, -1])], three, "GatherOptions"),
        operator("CAST", [three], wide, "CastOptions"),
        operator("CAST", [wide], narrow, "CastOptions"),
        operator("REDUCE_PROD", [narrow, tensor("axes", [1], [0])], product, "ReducerOptions", keepDims=True),
        operator("FILL", [tensor("dims", [1], [1]), tensor("value", [], 1)], one, "FillOptions"),
        operator("MUL", [one, one], tensor("one squared", [1]), "MulOptions"),
        operator("CONCATENATION", [tensor("unused", [1], [0]), one], tensor("dead", [2]), "ConcatenationOptions"),
        operator("CONCATENATION", [one, product], joined, "ConcatenationOptions"),
    ]
    reshape.inputs = [x, joined]
    sub.operators = [*operators, reshape]
    graph = importer.parse(pack(model), "case.tflite", "case")
    folded = passes.fold_constants(graph)
    assert folded.const("joined").tolist() == [1, 24]
    assert [n.op for n in passes.check_supported(passes.optimize(graph)).nodes] == ["reshape"]


def test_batch_minus_one_in_the_signature() -> None:
    def edit(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if len(tensor.shape) > 1 and tensor.shape[0] == 1:
                tensor.shapeSignature = [-1, *tensor.shape[1:]]

    graph = compare(edited(small_model(), edit))
    assert "batch -1 in the file is read as 1" in graph.notes and graph.tensors["x"].shape == (1, 8, 8, 3)


def test_batch_minus_one_in_the_shape_itself() -> None:
    def edit(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if len(tensor.shape) > 1 and tensor.shape[0] == 1:
                tensor.shape = [-1, *tensor.shape[1:]]

    blob = small_model()
    plain, dynamic = (importer.parse(b, "case.tflite", "case") for b in (blob, edited(blob, edit)))
    assert str(plain) == str(dynamic)


def test_float_ends_become_int8() -> None:
    rng = RNG(8)
    f, x = Tensor("f", (1, 9), DType.FLOAT32), activation("x", (1, 9), 0.1, 3)
    w, y = weights(rng, (6, 9)), activation("y", (1, 6), 0.4, -9)
    dense = tflite_graph("FULLY_CONNECTED", [x, w, bias(rng, x, w, 6)], y)
    out = Tensor("g", (1, 6), DType.FLOAT32)
    blob = exporter.export(chain(tflite_graph("QUANTIZE", [f], x), dense, tflite_graph("DEQUANTIZE", [y], out)))
    graph = passes.check_supported(passes.optimize(importer.parse(blob, "case.tflite", "case")))
    assert (graph.inputs, graph.outputs, len(graph.nodes)) == (("x",), ("y",), 1)
    steps = [[RNG(9).integers(-128, 128, (1, 9)).astype(np.int8)] for _ in range(4)]
    real = [[(0.1 * (s.astype(np.float64) - 3)).astype(np.float32)] for (s,) in steps]
    found = run_reference(graph, steps)
    for (expected,), (got,) in zip(oracle.tflite_micro(blob, real), found, strict=True):
        scale = float(np.float32(0.4))
        assert np.array_equal(expected, (scale * (got.astype(np.float64) + 9)).astype(np.float32))


def test_float_samples_are_quantized_as_tflite_micro_does_also_between_two_steps() -> None:
    f, x = Tensor("f", (1, 256), DType.FLOAT32), activation("x", (1, 256), 0.25, 3)
    blob = exporter.export(tflite_graph("QUANTIZE", [f], x))
    ties = (0.125 * (np.arange(256) - 128)).astype(np.float32).reshape(1, 256)
    spread = RNG(10).uniform(-40, 40, (1, 256)).astype(np.float32)
    for real, (expected,) in zip((ties, spread), oracle.tflite_micro(blob, [[ties], [spread]]), strict=True):
        assert np.array_equal(expected, tflite_quantize_float(real, 0.25, 3))


def test_names_that_repeat_or_are_missing_stay_apart() -> None:
    def edit(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = b"same" if tensor.buffer == 0 else b""

    graph = compare(edited(small_model(), edit))
    assert len(graph.tensors) == len({t.name for t in graph.tensors.values()}) and "same" in graph.tensors


def test_import_is_deterministic() -> None:
    blob = small_model()
    assert str(importer.parse(blob, "a", "n")) == str(importer.parse(bytes(blob), "a", "n")) and small_model() == blob
