"""States in a .tflite file: resource variables where an assign node writes them, else variable tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcuc.ir import Graph, Node, State

RESOURCE = 13  # TensorType of the schema


def split(graph: Graph) -> tuple[dict[str, tuple[State, Node]], dict[str, State]]:
    """The states that assign nodes write, by current tensor and with the node, and those of other nodes."""
    writers = graph.producers()
    resources, variables = {}, {}
    for state in graph.states:
        if writers[state.next].op == "assign":
            resources[state.current] = (state, writers[state.next])
        else:
            variables[state.current] = state
    return resources, variables


def with_states(blob: bytes, graph: Graph) -> bytes:
    """The file of the graph's other nodes, whose inputs and outputs end with what its resources hold before and after
    a run, made one that keeps them itself: CALL_ONCE and READ_VARIABLE in front, ASSIGN_VARIABLE behind."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    resources, variables = split(graph)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(blob, 0))
    main = model.subgraphs[0]
    count = len(resources)
    inputs, outputs = [int(i) for i in main.inputs], [int(i) for i in main.outputs]
    ends = list(zip(inputs[len(inputs) - count :], outputs[len(outputs) - count :], strict=True))
    main.inputs, main.outputs = inputs[: len(inputs) - count], outputs[: len(outputs) - count]
    for signature in model.signatureDefs or ():
        signature.inputs = signature.inputs[: len(main.inputs)]
        signature.outputs = signature.outputs[: len(main.outputs)]
    for tensor in main.tensors:
        tensor.isVariable = tensor.name.decode() in variables
    start = schema.SubGraphT()
    start.name, start.inputs, start.outputs, start.tensors, start.operators = "initialise", [], [], [], []
    front, back = [], []
    for (state, _), (before, after) in zip(resources.values(), ends, strict=True):
        shown = main.tensors[before]
        front += [
            _handle(schema, model, main, state),
            _operator(schema, model, "READ_VARIABLE", [len(main.tensors) - 1], [before]),
        ]
        back.append(_operator(schema, model, "ASSIGN_VARIABLE", [len(main.tensors) - 1, after], []))
        start.operators.append(_handle(schema, model, start, state))
        initial = schema.TensorT()
        initial.name, initial.shape, initial.type = f"{state.current}/initial", list(shown.shape), shown.type
        initial.quantization, initial.buffer = shown.quantization, len(model.buffers)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(state.initial).tobytes(), np.uint8)
        model.buffers.append(buffer)
        start.tensors.append(initial)
        ends_of = [len(start.tensors) - 2, len(start.tensors) - 1]
        start.operators.append(_operator(schema, model, "ASSIGN_VARIABLE", ends_of, []))
    if count:
        once = _operator(schema, model, "CALL_ONCE", [], [])
        once.builtinOptionsType, once.builtinOptions = schema.BuiltinOptions.CallOnceOptions, schema.CallOnceOptionsT()
        once.builtinOptions.initSubgraphIndex = 1
        front.insert(0, once)
        model.subgraphs.append(start)
    main.operators = [*front, *main.operators, *back]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _handle(schema: Any, model: Any, subgraph: Any, state: State) -> Any:
    """VAR_HANDLE of the state, into a new last tensor of the subgraph."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = f"{state.current}/handle", [], RESOURCE, 0
    subgraph.tensors.append(tensor)
    entry = _operator(schema, model, "VAR_HANDLE", [], [len(subgraph.tensors) - 1])
    entry.builtinOptionsType, entry.builtinOptions = schema.BuiltinOptions.VarHandleOptions, schema.VarHandleOptionsT()
    entry.builtinOptions.container, entry.builtinOptions.sharedName = "", state.current
    return entry


def _operator(schema: Any, model: Any, kind: str, inputs: list[int], outputs: list[int]) -> Any:
    number = getattr(schema.BuiltinOperator, kind)
    known = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    if number not in known:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        model.operatorCodes.append(code)
        known.append(number)
    entry = schema.OperatorT()
    entry.opcodeIndex, entry.inputs, entry.outputs = known.index(number), inputs, outputs
    return entry
