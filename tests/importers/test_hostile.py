"""Bad files: every one ends in a McucError that says what, where and what to try, in bounded time and memory."""

from __future__ import annotations

import resource
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from edits import Edit, chain, edited, pack, shape_chain, small_model, unpack
from harness import RNG, activation, bias, tflite_graph, weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcuc import passes
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.ir import DType, Graph, Tensor

SMALL = small_model()
SECONDS = 10.0  # a loaded machine; one file takes milliseconds
BYTES = 64 << 20


def compile_front(blob: bytes) -> Graph:
    """What happens to a file before any code is made of it."""
    return passes.check_supported(passes.optimize(importer.parse(blob, "hostile.tflite", "hostile")))


def refused(blob: bytes) -> McucError:
    """The error of a file, which must come in time, without much memory, and be complete."""
    started = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(McucError) as caught:
            compile_front(blob)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < SECONDS and peak < BYTES
    error = caught.value
    assert error.code and error.found and error.where and error.try_this, error
    assert "\n" not in error.found and len(error.found) < 2000
    return error


@pytest.mark.parametrize("size", [*range(0, 64, 7), 100, 200, 400, 800, 1200, 1600, 2000, len(SMALL) - 1])
def test_truncated_files(size: int) -> None:
    assert refused(SMALL[:size]).code in ("corrupt-model", "broken-model", "broken-graph", "unsupported")


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes(seed: int) -> None:
    noise = RNG(seed).integers(0, 256, 4096).astype(np.uint8).tobytes()
    assert refused(noise).code == "corrupt-model"
    assert refused(noise[:4] + b"TFL3" + noise[8:]).code == "corrupt-model"


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0" * 4096,
        b"TFL3" * 64,
        b"\x08\0\0\0ONNX" + SMALL[8:],
        b"PK\x03\x04" + SMALL,
        SMALL[4:],
        b"\xff\xff\xff\x7fTFL3" + SMALL[8:],
        b"{}" * 50,
    ],
)
def test_other_files(blob: bytes) -> None:
    refused(blob)


def graph_of(model: Any) -> Any:
    return model.subgraphs[0]


def tensor(model: Any, name: str) -> Any:
    return next(t for t in graph_of(model).tensors if t.name in (name, name.encode()))


def weights_of(model: Any) -> Any:
    """The convolution's weights."""
    return graph_of(model).tensors[graph_of(model).operators[0].inputs[1]]


def options_of(model: Any, position: int) -> Any:
    return graph_of(model).operators[position].builtinOptions


def setting(pick: Callable[[Any], Any], **fields: Any) -> Edit:
    def edit(model: Any) -> None:
        for key, value in fields.items():
            assert hasattr(pick(model), key), key
            setattr(pick(model), key, value)

    return edit


def operator(position: int) -> Callable[[Any], Any]:
    return lambda model: graph_of(model).operators[position]


def options(position: int) -> Callable[[Any], Any]:
    return lambda model: options_of(model, position)


def named(name: str) -> Callable[[Any], Any]:
    return lambda model: tensor(model, name)


def quantization(name: str) -> Callable[[Any], Any]:
    return lambda model: tensor(model, name).quantization


def weight_quantization(model: Any) -> Any:
    return weights_of(model).quantization


def code(position: int, number: int) -> Edit:
    """The operator becomes another builtin operator."""

    def edit(model: Any) -> None:
        entry = model.operatorCodes[graph_of(model).operators[position].opcodeIndex]
        entry.builtinCode, entry.deprecatedBuiltinCode = number, min(number, 127)

    return edit


def cyclic(model: Any) -> None:
    first, last = graph_of(model).operators[0], graph_of(model).operators[1]
    first.inputs = [last.outputs[0], *first.inputs[1:]]
    tensor(model, "p").shape = [1, 8, 8, 3]


def swapped(model: Any) -> None:
    graph_of(model).operators.reverse()


def written_twice(model: Any) -> None:
    graph_of(model).operators.append(graph_of(model).operators[-1])


def constant_input(model: Any) -> None:
    tensor(model, "x").buffer = weights_of(model).buffer


def custom(model: Any) -> None:
    code(4, schema.BuiltinOperator.CUSTOM)(model)
    model.operatorCodes[graph_of(model).operators[4].opcodeIndex].customCode = b"Evil\xff\nOp" * 20


def sparse(model: Any) -> None:
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap, sparsity.dimMetadata = [0, 1], [], []
    weights_of(model).sparsity = sparsity


def outside_buffer(model: Any) -> None:
    buffer = model.buffers[weights_of(model).buffer]
    buffer.data, buffer.offset, buffer.size = None, 1 << 40, 1 << 40


B = schema.BuiltinOperator
T = schema.TensorType
EDITS: dict[str, Edit] = {
    "no subgraph": lambda m: setattr(m, "subgraphs", []),
    "no inputs": setting(graph_of, inputs=[]),
    "no outputs": setting(graph_of, outputs=[]),
    "input index out of range": setting(graph_of, inputs=[10_000]),
    "negative input index": setting(graph_of, inputs=[-2]),
    "output listed twice": setting(graph_of, outputs=[0, 0]),
    "output nobody computes": setting(graph_of, operators=[]),
    "no tensors": setting(graph_of, tensors=[]),
    "tensor index out of range": setting(operator(1), inputs=[10_000]),
    "negative tensor index": setting(operator(1), inputs=[-7]),
    "operator without inputs": setting(operator(1), inputs=[]),
    "operator without outputs": setting(operator(1), outputs=[]),
    "operator with two outputs": setting(operator(1), outputs=[2, 3]),
    "operator code out of range": setting(operator(0), opcodeIndex=77),
    "operator without options": setting(operator(0), builtinOptions=None, builtinOptionsType=0),
    "options of another operator": setting(
        operator(0), builtinOptions=schema.SoftmaxOptionsT(), builtinOptionsType=schema.BuiltinOptions.SoftmaxOptions
    ),
    "cyclic graph": cyclic,
    "operators out of order": swapped,
    "tensor written twice": written_twice,
    "constant graph input": constant_input,
    "buffer index out of range": lambda m: setattr(weights_of(m), "buffer", 4_000_000),
    "buffer too short": lambda m: setattr(m.buffers[weights_of(m).buffer], "data", np.zeros(3, np.uint8)),
    "buffer behind the end": outside_buffer,
    "weights without data": lambda m: setattr(weights_of(m), "buffer", 0),
    "negative dimension": setting(named("a"), shape=[1, -8, 8, 4]),
    "very negative dimension": setting(named("a"), shape=[1, -(1 << 31), 8, 4]),
    "huge dimensions": setting(named("a"), shape=[1, 1 << 30, 1 << 30, 4]),
    "dimensions that overflow": setting(named("a"), shape=[1 << 16, 1 << 16, 1 << 16, 1 << 16]),
    "zero dimension": setting(named("a"), shape=[1, 0, 8, 4]),
    "two hundred axes": setting(named("a"), shape=[1] * 200),
    "scalar activation": setting(named("a"), shape=[]),
    "output of another shape": setting(named("a"), shape=[1, 7, 8, 4]),
    "batch of four": setting(named("x"), shape=[4, 8, 8, 3]),
    "input channels that do not fit": setting(named("x"), shape=[1, 8, 8, 5]),
    "weights of rank 3": lambda m: setattr(weights_of(m), "shape", [4, 3, 9]),
    "stride 0": setting(options(0), strideH=0),
    "negative stride": setting(options(1), strideW=-2),
    "dilation 0": setting(options(0), dilationHFactor=0),
    "huge dilation": setting(options(0), dilationHFactor=1 << 30, dilationWFactor=1 << 30),
    "pool filter 0": setting(options(1), filterHeight=0),
    "pool filter of 2^30": setting(options(1), filterHeight=1 << 30, filterWidth=1 << 30),
    "unknown padding": setting(options(0), padding=99),
    "unknown fused activation": setting(options(0), fusedActivationFunction=4),
    "softmax without beta": setting(options(4), beta=float("nan")),
    "NaN scale": setting(quantization("a"), scale=[float("nan")]),
    "infinite scale": setting(quantization("a"), scale=[float("inf")]),
    "negative scale": setting(quantization("a"), scale=[-0.5]),
    "zero scale": setting(quantization("a"), scale=[0.0]),
    "zero scale among the weights'": setting(weight_quantization, scale=[0.1, 0.0, 0.1, 0.1]),
    "too few weight scales": setting(weight_quantization, scale=[0.1, 0.1, 0.1], zeroPoint=[0, 0, 0]),
    "scales along an axis that does not exist": setting(weight_quantization, quantizedDimension=9),
    "zero points of another number": setting(weight_quantization, zeroPoint=[0, 0, 0]),
    "zero point of another type": setting(quantization("a"), zeroPoint=[1000]),
    "per-channel activation": setting(quantization("a"), scale=[0.1] * 4, zeroPoint=[0] * 4, quantizedDimension=3),
    "no quantization": setting(named("a"), quantization=None),
    "int4 weights": lambda m: setattr(weights_of(m), "type", T.INT4),
    "string tensor": setting(named("a"), type=T.STRING),
    "resource tensor": setting(named("a"), type=T.RESOURCE),
    "variant tensor": setting(named("a"), type=T.VARIANT),
    "float16 weights": lambda m: setattr(weights_of(m), "type", T.FLOAT16),
    "int16 activations": setting(named("a"), type=T.INT16),
    "complex tensor": setting(named("a"), type=T.COMPLEX64),
    "type that does not exist": setting(named("a"), type=99),
    "variable tensor": setting(named("a"), isVariable=True),
    "sparse weights": sparse,
    "custom operator": custom,
    "unsupported operator": code(4, B.SQUARE),
    "operator that does not exist": code(4, 4_000),
    "state: VAR_HANDLE": code(0, B.VAR_HANDLE),
    "state: READ_VARIABLE": code(0, B.READ_VARIABLE),
    "state: LSTM": code(0, B.UNIDIRECTIONAL_SEQUENCE_LSTM),
    "control flow": code(0, B.WHILE),
    "reshape to another size": setting(named("r"), shape=[1, 63]),
    "bias of another length": lambda m: setattr(graph_of(m).tensors[graph_of(m).operators[0].inputs[2]], "shape", [3]),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_files(name: str) -> None:
    error = refused(edited(SMALL, EDITS[name]))
    assert error.code in {
        "corrupt-model",
        "broken-model",
        "unsupported-scales",
        "broken-graph",
        "unsupported",
        "unsupported-operator",
        "unsupported-type",
        "not-quantized",
        "unsupported-activation",
        "unsupported-sparse",
        "unsupported-state",
        "unsupported-bias",
        "not-constant",
        "unsupported-quantization",
        "unsupported-window",
    }


def test_messages_name_operator_and_tensor() -> None:
    error = refused(edited(SMALL, EDITS["unsupported operator"]))
    assert "SQUARE" in error.found and "#4" in error.where and "mcuc check" in error.try_this
    assert "Evil" in refused(edited(SMALL, custom)).found
    assert "control flow" in refused(edited(SMALL, EDITS["control flow"])).found
    assert "'a'" in refused(edited(SMALL, EDITS["NaN scale"])).found


def test_a_float_model_is_refused_with_the_remedy() -> None:
    def edit(model: Any) -> None:
        for entry in graph_of(model).tensors:
            buffer = model.buffers[entry.buffer]
            if entry.type in (T.INT8, T.INT32) and list(entry.shape) != [2]:
                entry.type, entry.quantization = T.FLOAT32, None
                if buffer.data is not None and entry.buffer:
                    buffer.data = np.zeros(4 * int(np.prod(entry.shape)), np.uint8)

    error = refused(edited(SMALL, edit))
    assert error.code == "not-quantized" and "float32" in error.found and "representative" in error.try_this


def test_a_dynamic_range_model_is_refused_with_the_remedy() -> None:
    def edit(model: Any) -> None:
        for entry in graph_of(model).tensors:
            if entry.type == T.INT8 and entry.buffer == 0:
                entry.type, entry.quantization = T.FLOAT32, None

    error = refused(edited(SMALL, edit))
    assert error.code == "not-quantized" and "dynamic-range" in error.found and "representative" in error.try_this


def test_float_inside_an_int8_model_is_refused_by_name() -> None:
    x, f, y = activation("x", (1, 4), 0.5, 3), Tensor("middle", (1, 4), DType.FLOAT32), activation("y", (1, 4), 0.25, 0)
    blob = exporter.export(chain(tflite_graph("DEQUANTIZE", [x], f), tflite_graph("QUANTIZE", [f], y)))
    assert "'middle'" in refused(blob).found


def test_a_shape_known_only_at_run_time_is_refused() -> None:
    def edit(model: Any) -> None:
        reshape = graph_of(model).operators[-1]
        graph_of(model).inputs = [*graph_of(model).inputs, reshape.inputs[1]]
        graph_of(model).operators = [reshape]

    error = refused(edited(shape_chain(), edit))
    assert "run time" in error.found and "batch size 1" in error.try_this


def test_a_division_by_zero_in_a_shape_is_refused() -> None:
    def edit(model: Any) -> None:
        sub = graph_of(model)
        pack_operator = sub.operators[2]
        pack_operator.inputs = [pack_operator.inputs[0], sub.operators[1].outputs[0]]
        zero = schema.TensorT()
        zero.name, zero.shape, zero.type, zero.buffer = b"zero", [], T.INT32, len(model.buffers)
        buffer = schema.BufferT()
        buffer.data = np.zeros(4, np.uint8)
        model.buffers.append(buffer)
        sub.tensors.append(zero)
        divided = schema.TensorT()
        divided.name, divided.shape, divided.type, divided.buffer = b"divided", [], T.INT32, 0
        sub.tensors.append(divided)
        divide = schema.OperatorT()
        kind = schema.OperatorCodeT()
        kind.builtinCode = kind.deprecatedBuiltinCode = B.FLOOR_DIV
        model.operatorCodes.append(kind)
        divide.opcodeIndex = len(model.operatorCodes) - 1
        divide.inputs, divide.outputs = [sub.operators[1].outputs[0], len(sub.tensors) - 2], [len(sub.tensors) - 1]
        sub.operators.insert(2, divide)
        pack_operator.inputs = [pack_operator.inputs[0], len(sub.tensors) - 1]

    assert "by zero" in refused(edited(shape_chain(), edit)).found


def _repeated(
    table: Callable[[flatbuffers.Builder], int],
    count: int,
    start: Callable[[flatbuffers.Builder, int], Any],
    builder: flatbuffers.Builder,
) -> int:
    """A vector of `count` references to one and the same table."""
    once = table(builder)
    start(builder, count)
    for _ in range(count):
        builder.PrependUOffsetTRelative(once)
    return int(builder.EndVector())


@pytest.mark.parametrize("tensors, name_bytes", [(15_000, 200_000), (100_000, 1)])
def test_a_small_file_that_describes_an_enormous_model(tensors: int, name_bytes: int) -> None:
    """Vectors may overlap: thousands of tensors that are all the same bytes, with a long name."""
    builder = flatbuffers.Builder(1 << 20)
    name = builder.CreateString("n" * name_bytes)

    def one_tensor(b: flatbuffers.Builder) -> int:
        schema.TensorStart(b)
        schema.TensorAddName(b, name)
        return int(schema.TensorEnd(b))

    many = _repeated(one_tensor, tensors, schema.SubGraphStartTensorsVector, builder)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, many)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 1)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    assert refused(bytes(builder.Output())).code == "corrupt-model"


def test_one_buffer_read_as_many_large_constants() -> None:
    """A chain of dense layers over shared weights is fine; a thousand megabytes of them are not."""
    rng = RNG(1)
    x, w = activation("x", (1, 2048), 0.1, 0), weights(rng, (2048, 2048), per_channel=False)
    layers = []
    for i in range(3):
        y = activation(f"y{i}", (1, 2048), 0.1, 0)
        layers.append(tflite_graph("FULLY_CONNECTED", [x, w, bias(rng, x, w, 2048)], y))
        x = y
    model = unpack(exporter.export(chain(*layers)))
    sub = graph_of(model)
    shared = next(t.buffer for t in sub.tensors if list(t.shape) == [2048, 2048])
    template = next(t for t in sub.tensors if list(t.shape) == [2048, 2048])
    for position in range(260):
        extra = schema.TensorT()
        extra.name, extra.shape, extra.type, extra.buffer = f"w{position}", [2048, 2048], T.INT8, shared
        extra.quantization = template.quantization
        sub.tensors.append(extra)
        out = schema.TensorT()
        out.name, out.shape, out.type, out.buffer = f"z{position}", [1, 2048], T.INT8, 0
        out.quantization = tensor(model, "y0").quantization
        sub.tensors.append(out)
        entry = schema.OperatorT()
        first = sub.operators[0]
        entry.opcodeIndex, entry.builtinOptions, entry.builtinOptionsType = (
            first.opcodeIndex,
            first.builtinOptions,
            first.builtinOptionsType,
        )
        entry.inputs, entry.outputs = [first.inputs[0], len(sub.tensors) - 2], [len(sub.tensors) - 1]
        sub.operators.append(entry)
    assert "1 GiB" in refused(pack(model)).found


def _only_mcuc_errors(blob: bytes) -> None:
    started = time.monotonic()
    try:
        compile_front(blob)
    except McucError as error:
        assert error.code and error.found and error.where and error.try_this, error
    assert time.monotonic() - started < SECONDS


@pytest.fixture(scope="module")
def bounded_memory() -> Iterator[None]:
    """No fuzzed file may make the importer ask for gigabytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/status").read_text().splitlines()
    used = int(next(line.split()[1] for line in status if line.startswith("VmSize"))) << 10
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


FUZZ = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FILES = (SMALL, shape_chain())


@FUZZ
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(8, 4000), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_bytes_changed(bounded_memory: None, blob: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(blob)
    for position, value in changes:
        changed[position % len(blob)] = value
    _only_mcuc_errors(bytes(changed))


@FUZZ
@given(
    st.sampled_from(FILES),
    st.integers(0, 4000),
    st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC]),
)
def test_any_word_changed(bounded_memory: None, blob: bytes, position: int, value: int) -> None:
    at = position % (len(blob) - 4) & ~3
    _only_mcuc_errors(blob[:at] + value.to_bytes(4, "little") + blob[at + 4 :])


@FUZZ
@given(st.sampled_from(FILES), st.integers(0, 4000), st.integers(1, 64))
def test_any_part_cut_out(bounded_memory: None, blob: bytes, position: int, length: int) -> None:
    at = position % len(blob)
    _only_mcuc_errors(blob[:at] + blob[at + length :])


@pytest.mark.parametrize("bit", range(8))
def test_every_byte_of_a_file_flipped(bounded_memory: None, bit: int) -> None:
    """One bit of every byte, with a stride that over the eight cases meets each byte."""
    for position in range(8 + bit, len(SMALL), 8):
        changed = bytearray(SMALL)
        changed[position] ^= 1 << bit
        _only_mcuc_errors(bytes(changed))


def test_an_unreadable_path_is_named(tmp_path: Path) -> None:
    from mcuc.importers.tflite import load

    for path in (tmp_path / "missing.tflite", tmp_path):
        with pytest.raises(McucError) as caught:
            load(path)
        assert caught.value.code == "unreadable-file" and str(path) in caught.value.where and caught.value.try_this
