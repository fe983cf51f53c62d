"""The float network that quantization works on: ONNX, simplified, as plain tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mcuc.errors import McucError
from mcuc.ir import Array
from mcuc.quantize.runtime import Runtime

OPSET = 20
MAX_INPUT = 1 << 26  # elements of an input


@dataclass(frozen=True, eq=False)
class FloatNode:
    """One ONNX node; attrs as Python values."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class FloatModel:
    """A float ONNX network with static shapes, nodes in execution order.

    constants: by name. shapes: of every value computed at run time; real: those of type float32. types: of the inputs
    and outputs that are not (indices, truth values), as ONNX numbers them. opset: of the nodes.
    """

    name: str
    nodes: tuple[FloatNode, ...]
    constants: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    real: frozenset[str]
    opset: int = OPSET
    notes: tuple[str, ...] = field(default=())
    types: Mapping[str, int] = field(default_factory=dict)

    def consumers(self) -> dict[str, list[tuple[FloatNode, int]]]:
        """Value -> the nodes that read it, with the position among their inputs."""
        found: dict[str, list[tuple[FloatNode, int]]] = {}
        for node in self.nodes:
            for i, name in enumerate(node.inputs):
                found.setdefault(name, []).append((node, i))
        return found

    def producers(self) -> dict[str, FloatNode]:
        """Value -> the node that computes it."""
        return {name: node for node in self.nodes for name in node.outputs if name}


def with_constants(model: FloatModel, changed: Mapping[str, Array]) -> FloatModel:
    """The model with some constants replaced."""
    return replace(model, constants={**model.constants, **changed})


def with_shapes(proto: Any, samples: Sequence[Array], where: str) -> Any:
    """The ONNX model with its inputs' shapes as the samples have them, one at a time.

    Raises McucError("bad-samples") where samples do not fit the inputs that the file declares.
    """
    import onnx

    static = onnx.ModelProto()
    static.CopyFrom(proto)
    constants = {i.name for i in static.graph.initializer}
    entries = [e for e in static.graph.input if e.name not in constants]
    if len(entries) != len(samples):
        raise _misfit(where, f"{len(samples)} arrays of samples for {len(entries)} inputs")
    for entry, column in zip(entries, samples, strict=True):
        shape = column.shape[1:]
        dims = entry.type.tensor_type.shape.dim
        declared = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)
        free_batch = len(declared) == len(shape) and declared[:1] != (1,) and shape[:1] == (1,)
        if len(declared) != len(shape) or any(
            d is not None and d != s
            for i, (d, s) in enumerate(zip(declared, shape, strict=True))
            if i or not free_batch
        ):
            raise _misfit(where, f"samples of shape {shape} for input {entry.name!r} of {_text(declared)}")
        if np.prod(shape) > MAX_INPUT:
            raise _misfit(where, f"samples of shape {shape}")
        for dim, size in zip(dims, shape, strict=True):
            dim.dim_value = size
    for entry in static.graph.output:
        entry.type.tensor_type.ClearField("shape")
    del static.graph.value_info[:]
    return static


def _text(declared: Sequence[int | None]) -> str:
    return "x".join("?" if d is None else str(d) for d in declared)


def _misfit(where: str, found: str) -> McucError:
    return McucError(
        "bad-samples",
        found,
        where=where,
        try_this="give one array [n, ...] for each input, in the file's order, as the model takes them",
    )


def from_proto(proto: Any, name: str, where: str, runtime: Runtime) -> FloatModel:
    """The simplified network of an ONNX model with static input shapes.

    Raises McucError: not-float (it is quantized already), unsupported-operator (control flow, other domains),
    dynamic-shape, and what the runtime raises.
    """
    import onnx
    from onnx import helper, numpy_helper

    simple = onnx.load_from_string(runtime.simplified(proto.SerializeToString(), OPSET))
    graph = simple.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    nodes = []
    for position, node in enumerate(graph.node):
        place = f"{node.op_type} {node.name or position}"
        if node.domain not in ("", "ai.onnx") or any(a.HasField("g") or a.graphs for a in node.attribute):
            raise McucError(
                "unsupported-operator",
                f"operator {node.op_type} of {node.domain or 'ONNX'} "
                + ("contains a graph (control flow)" if not node.domain else "is not standard ONNX"),
                where=place,
                try_this="export the model without control flow and custom operators",
            )
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            raise McucError(
                "not-float",
                "the model is quantized already",
                where=place,
                try_this="compile it as it is: mcuc compile MODEL; or leave out --data",
            )
        if node.op_type == "Dropout" and len(node.input) > 2 and bool(np.any(constants.get(node.input[2], False))):
            raise McucError(
                "unsupported-operator",
                "Dropout in training mode: its output is random",
                where=place,
                try_this="export the model for inference: model.eval()",
            )
        attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and "value" in attrs:
            constants[node.output[0]] = numpy_helper.to_array(attrs["value"])
            continue
        nodes.append(FloatNode(place, node.op_type, tuple(node.input), tuple(node.output), attrs))
    infos = {v.name: v.type.tensor_type for v in (*graph.value_info, *graph.input, *graph.output)}
    shapes, real = {}, set()
    for name_, info in infos.items():
        dims = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in info.shape.dim)
        if name_ not in constants:
            shapes[name_] = dims
            if info.elem_type == onnx.TensorProto.FLOAT:
                real.add(name_)
    for node_ in nodes:
        for output in node_.outputs:
            if output and (output not in shapes or min(shapes[output], default=1) < 0):
                raise McucError(
                    "dynamic-shape",
                    f"the shape of value {output!r} depends on the data",
                    where=node_.name,
                    try_this="export the model with static shapes",
                )
    opset = next(o.version for o in simple.opset_import if o.domain in ("", "ai.onnx"))
    inputs = tuple(i.name for i in graph.input if i.name not in constants)
    outputs = tuple(o.name for o in graph.output)
    types = {n: infos[n].elem_type for n in (*inputs, *outputs) if n in infos and n not in real}
    return FloatModel(name, tuple(nodes), constants, inputs, outputs, shapes, frozenset(real), opset, types=types)


def input_infos(model: FloatModel) -> list[Any]:
    """The inputs as an ONNX graph declares them."""
    from onnx import TensorProto, helper

    return [
        helper.make_tensor_value_info(n, model.types.get(n, TensorProto.FLOAT), model.shapes[n]) for n in model.inputs
    ]


def to_proto(model: FloatModel, extra: Sequence[str] = ()) -> bytes:
    """The model as an ONNX file; extra: values that become outputs as well."""
    import onnx
    from onnx import helper, numpy_helper

    nodes = [helper.make_node(n.kind, list(n.inputs), list(n.outputs), name=n.name, **n.attrs) for n in model.nodes]
    used = {name for node in model.nodes for name in node.inputs}
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), n)
        for n, a in model.constants.items()
        if n in used
    ]
    names = list(dict.fromkeys((*model.outputs, *extra)))
    outputs = [helper.make_empty_tensor_value_info(n) for n in names if n not in model.inputs]
    for entry, name in zip(outputs, [n for n in names if n not in model.inputs], strict=True):
        if name in model.real:
            entry.CopyFrom(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, model.shapes[name]))
    graph = helper.make_graph(nodes, model.name or "model", input_infos(model), outputs, constants)
    proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", model.opset)], ir_version=9, producer_name="mcuc"
    )
    return bytes(proto.SerializeToString())
