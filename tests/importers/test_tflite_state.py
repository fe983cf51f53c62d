"""Variables of TFLite files: what is read of them, and that damaged ones are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from edits import edited, pack, unpack
from harness import assert_equal, run_reference, samples

sys.path.append(str(Path(__file__).resolve().parent.parent / "state"))
from state_models import counting, delay_line, streaming

from mcuc import passes
from mcuc.errors import McucError
from mcuc.exporters import tflite as exporter
from mcuc.importers import tflite as importer
from mcuc.importers.survey import survey
from mcuc.ir import Graph
from mcuc.verify import oracle

B = schema.BuiltinOperator
STREAMING = exporter.export(streaming())


def load(blob: bytes) -> Graph:
    return importer.parse(blob, "state.tflite", "state")


def of_kind(model: Any, kind: str, part: int = 0) -> list[Any]:
    """The operators of that kind in a subgraph."""
    number = getattr(B, kind)
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    return [o for o in model.subgraphs[part].operators if codes[o.opcodeIndex] == number]


def check(blob: bytes, runs: int = 8) -> Graph:
    """The reference of the file, before and after the passes, equals TFLite Micro over a sequence."""
    graph = load(blob)
    inputs = samples(graph, runs)
    expected = oracle.tflite_micro(blob, inputs, keep_state=True)
    assert_equal(expected, run_reference(graph, inputs), "reference against TFLite Micro")
    assert_equal(expected, run_reference(passes.optimize(graph), inputs), "after the passes")
    return graph


@pytest.mark.parametrize("graph", [streaming(), counting(), delay_line()], ids=lambda g: g.name)
def test_files_with_variables(graph: Graph) -> None:
    again = check(exporter.export(graph))
    assert [s.initial.tolist() for s in again.states] == [s.initial.tolist() for s in graph.states]
    assert not any("subgraphs" in note for note in again.notes)


def without_initialisation(model: Any) -> None:
    once = of_kind(model, "CALL_ONCE")[0]
    model.subgraphs[0].operators.remove(once)
    model.subgraphs = model.subgraphs[:1]


def test_a_variable_that_nothing_initialises_begins_at_its_zero_point() -> None:
    graph = check(edited(STREAMING, without_initialisation))
    assert (graph.states[0].initial == -4).all()


def test_a_variable_that_is_read_twice_and_assigned_in_between() -> None:
    """What was assigned counts within the run; the next run begins with what was assigned last."""

    def edit(model: Any) -> None:
        main = model.subgraphs[0]
        assign, read = of_kind(model, "ASSIGN_VARIABLE")[0], of_kind(model, "READ_VARIABLE")[0]
        main.operators.remove(assign)
        at = 1 + next(i for i, o in enumerate(main.operators) if assign.inputs[1] in list(o.outputs))
        late = schema.OperatorT()
        late.opcodeIndex, late.inputs, late.outputs = read.opcodeIndex, list(read.inputs), [len(main.tensors)]
        shown = main.tensors[int(read.outputs[0])]
        second = schema.TensorT()
        second.name, second.shape, second.type = "second", list(shown.shape), shown.type
        second.quantization, second.buffer = shown.quantization, 0
        main.tensors.append(second)
        main.outputs = [*map(int, main.outputs), len(main.tensors) - 1]
        main.operators[at:at] = [assign, late]

    graph = check(edited(STREAMING, edit))
    assert len(graph.states) == 1 and len(graph.outputs) == 2


def test_a_variable_that_no_run_assigns_is_a_constant() -> None:
    def edit(model: Any) -> None:
        for assign in of_kind(model, "ASSIGN_VARIABLE"):
            model.subgraphs[0].operators.remove(assign)

    graph = load(edited(STREAMING, edit))
    assert not graph.states
    assert passes.optimize(graph).nodes
    check(edited(STREAMING, edit))


def test_an_assigned_variable_that_nobody_reads_is_no_state() -> None:
    graph = passes.optimize(load(edited(exporter.export(counting()), unread)))
    assert not graph.states and "assign" not in [n.op for n in graph.nodes]


def unread(model: Any) -> None:
    """The addition adds the input to itself."""
    read, add = of_kind(model, "READ_VARIABLE")[0], of_kind(model, "ADD")[0]
    add.inputs = [int(add.inputs[0])] * 2
    model.subgraphs[0].operators.remove(read)


def first(kind: str, part: int = 0) -> Callable[[Any], Any]:
    return lambda model: of_kind(model, kind, part)[0]


def inputs(pick: Callable[[Any], Any], *values: int) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        pick(model).inputs = list(values)

    return edit


def outputs(pick: Callable[[Any], Any], *values: int) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        pick(model).outputs = list(values)

    return edit


def once(index: int) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        first("CALL_ONCE")(model).builtinOptions.initSubgraphIndex = index

    return edit


def no_resource(model: Any) -> None:
    handle = first("VAR_HANDLE")(model)
    model.subgraphs[0].tensors[int(handle.outputs[0])].type = schema.TensorType.INT8


def another_shape(model: Any) -> None:
    read = first("READ_VARIABLE")(model)
    model.subgraphs[0].tensors[int(read.outputs[0])].shape = [1, 1, 3, 5]


def another_type(model: Any) -> None:
    for tensor in model.subgraphs[1].tensors:
        if tensor.type == schema.TensorType.INT8:
            tensor.type = schema.TensorType.INT32
            tensor.shape = [1]


def computed_start(model: Any) -> None:
    for tensor in model.subgraphs[1].tensors:
        tensor.buffer = 0


def other_start(model: Any) -> None:
    assign = first("ASSIGN_VARIABLE", 1)(model)
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = B.RELU, B.RELU, 1
    model.operatorCodes.append(code)
    assign.opcodeIndex = len(model.operatorCodes) - 1


def late_start(model: Any) -> None:
    main = model.subgraphs[0]
    main.operators.append(main.operators.pop(main.operators.index(first("CALL_ONCE")(model))))


def exchanged(model: Any) -> None:
    """Two variables take over each other's value."""
    assigns, reads = of_kind(model, "ASSIGN_VARIABLE"), of_kind(model, "READ_VARIABLE")
    handles = [int(a.inputs[0]) for a in assigns]
    by_handle = {int(r.inputs[0]): int(r.outputs[0]) for r in reads}
    assigns[0].inputs = [handles[0], by_handle[handles[1]]]
    assigns[1].inputs = [handles[1], by_handle[handles[0]]]


def marked(model: Any) -> None:
    add = next(o for o in model.subgraphs[0].operators if len(o.inputs) == 2 and len(o.outputs) == 1)
    model.subgraphs[0].tensors[int(add.inputs[0])].isVariable = True


def thousands(model: Any) -> None:
    main = model.subgraphs[0]
    handle = first("VAR_HANDLE")(model)
    for i in range(1200):
        more = schema.OperatorT()
        more.opcodeIndex, more.inputs, more.outputs = handle.opcodeIndex, [], list(handle.outputs)
        more.builtinOptionsType, more.builtinOptions = schema.BuiltinOptions.VarHandleOptions, (
            schema.VarHandleOptionsT())
        more.builtinOptions.sharedName = f"v{i}"
        main.operators.insert(0, more)


HOSTILE: dict[str, Callable[[Any], None]] = {
    "read of no handle": inputs(first("READ_VARIABLE"), 0),
    "read of nothing": inputs(first("READ_VARIABLE")),
    "read into nothing": outputs(first("READ_VARIABLE")),
    "read into a tensor that is not there": outputs(first("READ_VARIABLE"), 10_000),
    "read into the handle": lambda m: outputs(first("READ_VARIABLE"), int(first("VAR_HANDLE")(m).outputs[0]))(m),
    "handle of a tensor that is not there": outputs(first("VAR_HANDLE"), -5),
    "handle of nothing": outputs(first("VAR_HANDLE")),
    "handle with an input": inputs(first("VAR_HANDLE"), 0),
    "handle that is no resource": no_resource,
    "assignment of nothing": lambda m: inputs(first("ASSIGN_VARIABLE"), int(first("ASSIGN_VARIABLE")(m).inputs[0]))(m),
    "assignment of a tensor that is not there": lambda m: inputs(
        first("ASSIGN_VARIABLE"), int(first("ASSIGN_VARIABLE")(m).inputs[0]), 9_999)(m),
    "assignment of the handle": lambda m: inputs(
        first("ASSIGN_VARIABLE"), *[int(first("ASSIGN_VARIABLE")(m).inputs[0])] * 2)(m),
    "initialisation by the graph itself": once(0),
    "initialisation by a subgraph that is not there": once(77),
    "initialisation by a negative subgraph": once(-1),
    "another shape": another_shape,
    "another type": another_type,
    "a computed start": computed_start,
    "another operator in the start": other_start,
    "initialised after use": late_start,
    "a variable input": marked,
    "thousands of variables": thousands,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_variables_are_refused(name: str) -> None:
    with pytest.raises(McucError) as caught:
        passes.check_supported(passes.optimize(load(edited(STREAMING, HOSTILE[name]))))
    error = caught.value
    assert error.code and error.found and error.where and error.try_this and "\n" not in error.found


def test_variables_that_exchange_their_values_are_refused() -> None:
    with pytest.raises(McucError, match="exchange"):
        load(edited(exporter.export(delay_line()), exchanged))


def test_bits_of_a_file_with_variables_flipped() -> None:
    """400 files with a few bytes changed: a graph or a refusal, nothing else."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        raw = bytearray(STREAMING)
        for at in rng.integers(0, len(raw), 3):
            raw[at] ^= 1 << int(rng.integers(0, 8))
        try:
            passes.check_supported(passes.optimize(load(bytes(raw))))
        except McucError as error:
            assert error.found and error.try_this


def test_reading_a_subgraph_again_and_again_is_bounded() -> None:
    """Each CALL_ONCE of another subgraph counts what it reads against the file's size; of the same one, nothing."""

    def edit(model: Any) -> None:
        once_of = first("CALL_ONCE")(model)
        model.subgraphs[0].operators[0:0] = [once_of] * 500

    assert load(edited(STREAMING, edit)).states


@pytest.mark.parametrize("kind", ["WHILE", "IF", "CALL"])
def test_control_flow_is_refused_with_what_to_try(kind: str) -> None:
    def edit(model: Any) -> None:
        conv = of_kind(model, "CONV_2D")[0]
        model.operatorCodes[conv.opcodeIndex].builtinCode = getattr(B, kind)
        model.operatorCodes[conv.opcodeIndex].deprecatedBuiltinCode = min(getattr(B, kind), 127)

    with pytest.raises(McucError) as caught:
        load(edited(STREAMING, edit))
    found = caught.value
    assert kind in found.found and "control flow" in found.found and "unroll=True" in found.try_this


def test_the_survey_judges_operators_on_variables(tmp_path: Path) -> None:
    path = tmp_path / "s.tflite"
    path.write_bytes(STREAMING)
    assert survey(path).whole
    model = unpack(STREAMING)
    other_start(model)
    path.write_bytes(pack(model))
    found = survey(path)
    assert [r.kind for r in found.refused] == ["CALL_ONCE"]


def recurrent_files() -> dict[str, bytes]:
    """Layers with variable tensors, as files."""
    from test_lstm import lstm
    from test_svdf import svdf

    made = {"lstm": lstm(3, 4, 5), "lstm16": lstm(2, 3, 4, wide=True, x_zero=0, hidden=(1 / 32768, 0)),
            "svdf": svdf(4, 3, 2, 3), "svdf16": svdf(4, 3, 2, 3, "int16")}
    return {name: exporter.export(graph) for name, graph in made.items()}


@pytest.mark.parametrize("name", ["lstm", "lstm16", "svdf", "svdf16"])
def test_bits_of_a_recurrent_layer_flipped(name: str) -> None:
    """300 files with a few bytes changed: a graph or a refusal, nothing else."""
    blob, rng = recurrent_files()[name], np.random.default_rng(1)
    for _ in range(300):
        raw = bytearray(blob)
        for at in rng.integers(0, len(raw), 3):
            raw[at] ^= 1 << int(rng.integers(0, 8))
        try:
            passes.optimize(load(bytes(raw)))
        except McucError as error:
            assert error.found and error.try_this


def test_a_state_that_two_layers_write_is_refused() -> None:
    def edit(model: Any) -> None:
        main = model.subgraphs[0]
        again = schema.OperatorT()  # the same layer once more
        again.opcodeIndex, again.inputs = main.operators[0].opcodeIndex, list(main.operators[0].inputs)
        again.builtinOptionsType = main.operators[0].builtinOptionsType
        again.builtinOptions = main.operators[0].builtinOptions
        copy = schema.TensorT()
        shown = main.tensors[int(main.operators[0].outputs[0])]
        copy.name, copy.shape, copy.type, copy.quantization = "copy", list(shown.shape), shown.type, shown.quantization
        copy.buffer = 0
        main.tensors.append(copy)
        again.outputs = [len(main.tensors) - 1]
        main.operators.append(again)

    with pytest.raises(McucError, match="two operators write"):
        load(edited(recurrent_files()["svdf"], edit))


def test_a_variable_input_or_output_of_the_model_is_refused() -> None:
    def edit(model: Any) -> None:
        main = model.subgraphs[0]
        main.outputs = [*map(int, main.outputs), int(main.operators[0].inputs[4])]

    with pytest.raises(McucError, match="variable"):
        load(edited(recurrent_files()["svdf"], edit))


def test_a_recurrent_layer_whose_state_is_no_variable_is_refused() -> None:
    def edit(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.isVariable = False

    with pytest.raises(McucError, match="must be a variable"):
        load(edited(recurrent_files()["lstm"], edit))
