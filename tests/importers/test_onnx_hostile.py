"""Hostile .onnx files end in McucError, never in another exception or a crash."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Model

from mcuc.errors import McucError
from mcuc.importers import onnx as importer


def good(seed: int = 0) -> Any:
    m = Model(seed)
    x = m.qdq(m.input([1, 3, 6, 6]))
    v = m.qdq(m.layer("Conv", x, m.weights((4, 3, 3, 3)), 4), scale=0.3)
    y = m.layer("Gemm", m.qdq(m.node("Flatten", [v]), scale=0.3), m.weights((5, 64), axis=None), 5, transB=1)
    return onnx.ModelProto.FromString(m.build(m.qdq(y, scale=0.4)))


def constants_that_grow(kind: str) -> Any:
    """A file of kilobytes whose constants alone would make gigabytes."""

    def change(model: Any) -> None:
        def kept(name: str, array: Any) -> str:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
            return name

        zeros, length = kept("zeros", np.zeros((1, 1 << 10), np.float32)), kept("length", [1 << 24])
        made = [
            helper.make_node("Expand", [kept("one", np.float32(1)), length], ["wide"]),
            helper.make_node("Reshape", ["wide", kept("tall", [1 << 24, 1])], ["column"]),
        ]
        made.append({
            "Add": lambda: helper.make_node("Add", [zeros, "column"], ["grown"]),
            "Where": lambda: helper.make_node(
                "Where", [kept("no", np.zeros((9, 1, 1), bool)), zeros, "column"], ["grown"]
            ),
            "Tile": lambda: helper.make_node("Tile", [zeros, kept("times", [1 << 20, 1])], ["grown"]),
            "Gather": lambda: helper.make_node("Gather", [zeros, kept("all", np.zeros(1 << 17, np.int64))], ["grown"]),
            "Concat": lambda: helper.make_node("Concat", ["wide"] * 40, ["grown"], axis=0),
            "Range": lambda: helper.make_node(
                "Range", [kept("a", np.float32(0)), kept("b", np.float32(1)), kept("c", np.float32(1e-12))], ["grown"]
            ),
        }[kind]())  # fmt: skip
        for node in reversed(made):
            model.graph.node.insert(0, node)

    return change


@pytest.mark.parametrize("kind", ["Add", "Where", "Tile", "Gather", "Concat", "Range"])
def test_constants_that_grow_are_refused_before_they_do(kind: str) -> None:
    blob = changed(constants_that_grow(kind))
    tracemalloc.start()
    try:
        with pytest.raises(McucError, match="elements, all that are computed have"):
            importer.parse(blob, "case.onnx", "case")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bias_that_is_no_number_is_refused(value: float) -> None:
    def change(model: Any) -> None:
        conv = find(model, "Conv")
        tensor = numpy_helper.from_array(np.full(4, value, np.float32), "float_bias")
        model.graph.initializer.append(tensor)
        del conv.input[2:]
        conv.input.append("float_bias")

    with pytest.raises(McucError, match="no number"):
        importer.parse(changed(change), "case.onnx", "case")


def find(model: Any, kind: str) -> Any:
    return next(n for n in model.graph.node if n.op_type == kind)


def changed(change: Callable[[Any], None]) -> bytes:
    model = good()
    change(model)
    return bytes(model.SerializeToString())


def drop_initializer(model: Any) -> None:
    del model.graph.initializer[2]


def cycle(model: Any) -> None:
    first, last = model.graph.node[0], model.graph.node[-1]
    first.input[0] = last.output[0]


def huge_constant(model: Any) -> None:
    tensor = model.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend([1 << 40, 1 << 40])


def negative_dims(model: Any) -> None:
    model.graph.initializer[0].dims.append(-4)


def short_data(model: Any) -> None:
    largest = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    largest.raw_data = largest.raw_data[:-1]


def unknown_operator(model: Any) -> None:
    find(model, "Conv").op_type = "FancyConv"


def unknown_domain(model: Any) -> None:
    find(model, "Conv").domain = "evil.example"


def external(location: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.append(onnx.StringStringEntryProto(key="location", value=location))

    return change


def external_offset(model: Any) -> None:
    external("weights.bin")(model)
    for tensor in model.graph.initializer:
        if tensor.external_data:
            tensor.external_data.append(onnx.StringStringEntryProto(key="offset", value="-8"))


def zero_scale(model: Any) -> None:
    next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT).raw_data = np.float32(0).tobytes()


def nan_scale(model: Any) -> None:
    next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT).raw_data = np.float32(np.nan).tobytes()


def wrong_group(model: Any) -> None:
    find(model, "Conv").attribute.append(helper.make_attribute("group", 7))


def zero_stride(model: Any) -> None:
    find(model, "Conv").attribute.append(helper.make_attribute("strides", [0, 0]))


def negative_pads(model: Any) -> None:
    find(model, "Conv").attribute.append(helper.make_attribute("pads", [-5, 0, 0, 0]))


def giant_pads(model: Any) -> None:
    find(model, "Conv").attribute.append(helper.make_attribute("pads", [1 << 60, 0, 0, 0]))


def kernel_too_large(model: Any) -> None:
    find(model, "Conv").attribute.append(helper.make_attribute("dilations", [50, 50]))


def flatten_axis(model: Any) -> None:
    find(model, "Flatten").attribute.append(helper.make_attribute("axis", 99))


def no_inputs(model: Any) -> None:
    del find(model, "Conv").input[:]


def written_twice(model: Any) -> None:
    model.graph.node[2].output[0] = model.graph.node[0].output[0]


def subgraph(model: Any) -> None:
    find(model, "Conv").attribute.append(helper.make_attribute("body", helper.make_graph([], "g", [], [])))


def attribute_of_wrong_type(model: Any) -> None:
    find(model, "Conv").attribute.append(helper.make_attribute("strides", "two"))


def string_constant(model: Any) -> None:
    model.graph.initializer[0].data_type = TensorProto.STRING


def weights_in_other_type(model: Any) -> None:
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    tensor.data_type = TensorProto.BOOL


def input_without_shape(model: Any) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def input_huge(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 1 << 50


def input_sequence(model: Any) -> None:
    model.graph.input[0].type.Clear()
    model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def output_of_nothing(model: Any) -> None:
    model.graph.output[0].name = "nowhere"


def no_output(model: Any) -> None:
    del model.graph.output[:]


def no_opset(model: Any) -> None:
    del model.opset_import[:]


def sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


CHANGES = [
    drop_initializer,
    cycle,
    huge_constant,
    negative_dims,
    short_data,
    unknown_operator,
    unknown_domain,
    external("../../etc/passwd"),
    external("/etc/passwd"),
    external(""),
    external("missing.bin"),
    external_offset,
    zero_scale,
    nan_scale,
    wrong_group,
    zero_stride,
    negative_pads,
    giant_pads,
    kernel_too_large,
    flatten_axis,
    no_inputs,
    written_twice,
    subgraph,
    attribute_of_wrong_type,
    string_constant,
    weights_in_other_type,
    input_without_shape,
    input_huge,
    input_sequence,
    output_of_nothing,
    no_output,
    no_opset,
    sparse,
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_damaged_model(number: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(changed(CHANGES[number]))
    with pytest.raises(McucError) as caught:
        importer.load(path)
    assert caught.value.found and caught.value.where
    if CHANGES[number] in CHANGES[7:9]:
        assert caught.value.code == "external-data"


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0" * 100,
        b"TFL3" * 30,
        bytes(range(256)) * 8,
        b"\x08\x08",
        b"\xff" * 64,
        b"not a model",
        b"\x7fELF" + bytes(60),
    ],
)
def test_other_files(blob: bytes) -> None:
    with pytest.raises(McucError):
        importer.parse(blob, "file.onnx", "file")


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        good(), path, save_as_external_data=True, location="weights.bin", size_threshold=0, convert_attribute=False
    )
    assert (tmp_path / "weights.bin").is_file()
    graph = importer.load(path)
    whole = importer.parse(good().SerializeToString(), "whole", "model")
    assert str(graph) == str(whole)
    assert all(np.array_equal(graph.tensors[n].data, t.data) for n, t in whole.tensors.items() if t.data is not None)


def test_symlink_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(10_000))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").symlink_to(secret)
    (folder / "model.onnx").write_bytes(changed(external("weights.bin")))
    with pytest.raises(McucError) as caught:
        importer.load(folder / "model.onnx")
    assert caught.value.code == "external-data"


def test_truncated_anywhere() -> None:
    blob = good().SerializeToString()
    for size in range(0, len(blob) - 1, 37):
        try:
            importer.parse(blob[:size], "cut.onnx", "cut")
        except McucError:
            continue
        # A cut between two top-level fields leaves a valid protobuf; only the opset or metadata can be lost there.
        assert size > len(blob) - 40


def test_random_bytes_changed() -> None:
    blob = np.frombuffer(good().SerializeToString(), np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        copy = blob.copy()
        copy[rng.integers(0, blob.size, 3)] = rng.integers(0, 256, 3)
        try:
            importer.parse(copy.tobytes(), "noise.onnx", "noise")
        except McucError:
            refused += 1
    assert refused > 20
